"""The managers' programs without a cluster: each copy answers by its own file name, with what the contract and the deployer's
interface ask for. What was made is in STAND_IN/made.json, each call in STAND_IN/calls.jsonl; STAND_IN/answers.json overrides answers.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

REPEATED = {"env": "env", "secrets": "secret", "node_selector": "node-selector"}
LISTED = {"tolerations": "toleration", "image_pull_secrets": "image-pull-secret", "avoid_nodes": "avoid-node"}


def said(words: list[str]) -> list[str]:
    """The words of a call, and for a request on stdin the options that say the same: the real managers read it in this way."""
    if "--request" not in words:
        return words
    sys.path.insert(0, os.environ["STAND_IN_KIT"])
    import trainyard_podjob_options
    import trainyard_request

    request = trainyard_request.read(words[words.index("--request") + 1])
    rest = [word for word in words[1:] if word not in ("--request", "-")]
    if words[0] == "ensure-volume":
        asked = {"run-id": request.run_id, "nodes": request.nodes, "claim": (request.checkpoints.storage or request).claim}
        return [words[0], *rest, *(word for name, value in asked.items() if value for word in (f"--{name}", str(value)))]
    fields = trainyard_podjob_options.of_request(request)
    del fields["name"]
    command, engine = fields.pop("command"), request.engine or "pytorchjob"
    on_ray = engine in ("rayjob", "raycluster")
    options = ["--kind" if on_ray else "--engine", engine]
    for field, value in fields.items():
        if field in REPEATED:
            pairs = {key: "/".join(each) if isinstance(each, tuple) else each for key, each in value.items()}
            options += [word for key, each in pairs.items() for word in (f"--{REPEATED[field]}", f"{key}={each}")]
        elif field in LISTED:
            texts = [each if isinstance(each, str) else json.dumps(each, sort_keys=True) for each in value]
            options += [word for each in texts for word in (f"--{LISTED[field]}", each)]
        else:
            options += [f"--{field.replace('_', '-')}", f"{value:g}" if isinstance(value, float) else str(value)]
    return [words[0], *rest, *options, *(() if engine == "raycluster" else ("--", *command))]


PROGRAM, WORDS = Path(__file__).stem, said(sys.argv[1:])
SKILL, VERB = Path(__file__).parents[1].name, WORDS[0]
FOLDER = Path(os.environ["STAND_IN"])
CLUSTER = {"context": "test", "server": "https://127.0.0.1:6443", "cluster_id": "c0ffee00c0ffee00", "namespace": "ml"}
EXIT = {"conflict": 5, "not-found": 3, "timeout": 7, "unreachable": 8, "usage": 2, "permission": 4}


def option(name: str, default: str | None = None) -> str | None:
    words = WORDS[: WORDS.index("--")] if "--" in WORDS else WORDS
    return words[words.index(f"--{name}") + 1] if f"--{name}" in words else default


def answer(
    data: dict[str, Any], *, changed: tuple[str, ...] = (), checks: tuple[dict[str, Any], ...] = (), code: int = 0
) -> None:
    document = {"ok": code == 0, "skill": SKILL, "verb": VERB, "data": data, "checks": list(checks), "changed": list(changed)}
    print(json.dumps({**document, "next": [], "truncated": False}))
    sys.exit(code)


def refuse(code: str, message: str, data: dict[str, Any] | None = None) -> None:
    error = {"code": code, "message": message, "hint": f"fix {code}", "retryable": False}
    print(json.dumps({"ok": False, "skill": SKILL, "verb": VERB, "error": error, "data": data or {}, "checks": []}))
    sys.exit(EXIT[code])


def read(name: str) -> Any:
    try:
        return json.loads((FOLDER / name).read_text())
    except FileNotFoundError:
        return {}


class Made:
    """What exists, changed under a lock and replaced at once: a kill leaves the old or the new."""

    def __enter__(self) -> dict[str, Any]:
        self.lock = (FOLDER / "lock").open("w")
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        self.things = read("made.json") or {"jobs": {}, "claims": {}, "starts": []}
        return self.things

    def __exit__(self, *error: object) -> None:
        fresh = FOLDER / f"made.{os.getpid()}"
        fresh.write_text(json.dumps(self.things))
        fresh.replace(FOLDER / "made.json")
        self.lock.close()


def fit() -> None:
    """Without the nodes that states no room there: `crowded.json` names nodes that the job cannot do without."""
    avoids = (json.load(sys.stdin).get("cluster") or {}).get("avoid_nodes", []) if "-" in WORDS else []
    if set(avoids) & set(read("crowded.json") or []):
        answer({"fits": False, "missing": ["1 of 2 nodes: node-2 has no GPU left"], "cluster": CLUSTER}, code=1)
    pod = {"cpu": "30", "memory": "100Gi", "gpus": 1, "gpu_resource": "nvidia.com/gpu", "efa": 1, "shm": "16Gi"}
    data = {"fits": True, "engine": "pytorchjob", "nodes": ["node-1", "node-2"], "zone": "us-west-2a", "missing": []}
    data |= {"instance_type": "ml.g5.8xlarge", "usd_per_hour": 8.0, "pod": pod, "procs_per_node": 1, "cluster": CLUSTER}
    answer(data, checks=({"id": "fit.nodes", "status": "pass", "summary": "2 nodes are free", "evidence": None, "fix": None},))


def network_env() -> None:
    answer({"env": {"NCCL_NET": "AWS Libfabric"}, "lines": [], "efa": 1})


def ensure_volume() -> None:
    run_id = str(option("run-id"))
    claim = option("claim") or f"toy-{run_id[:8]}"
    data = {"claim": claim, "created": False, "access_mode": "ReadWriteMany", "size": "500Gi", "storage_class": "fsx",
            "phase": "Bound", "reclaim_policy": "Delete", "zone": "us-west-2a", "cluster": CLUSTER}  # fmt: skip
    told = "deleting the claim deletes the data"
    warn = {"id": "volume.reclaim", "status": "warn", "summary": told, "evidence": None, "fix": None}
    if "--dry-run" in WORDS:
        answer(data, checks=(warn,))
    with Made() as made:
        new = claim not in made["claims"]
        made["claims"][claim] = run_id
    answer(data | {"created": new}, changed=(f"made claim {claim}",) if new else (), checks=(warn,))


def create() -> None:
    name, run_id = next(word for word in WORDS[1:] if not word.startswith("--")), str(option("run-id"))
    spec = [word for word in WORDS if word != "--dry-run"]
    data = {"name": name, "run_id": run_id, "engine": option("engine"), "uid": "u-1", "pod_selector": f"job={name}",
            "container": "pytorch", "log_format": "trainyard", "run_dir": f"/trainyard/{name}-{run_id}", "cluster": CLUSTER}  # fmt: skip
    with Made() as made:
        job = made["jobs"].get(name)
        other = job is not None and job["run_id"] != run_id
        differs = job is not None and not other and job["spec"] != spec
        if job is None and "--dry-run" not in WORDS:
            made["jobs"][name] = {"run_id": run_id, "spec": spec}
            made["starts"].append(run_id)
    if other or differs:
        refuse("conflict", f"{name} is there and " + ("of another run" if other else "of another specification"))
    answer(data, changed=(f"PyTorchJob ml/{name}",) if job is None and "--dry-run" not in WORDS else ())


def job_or_refuse() -> dict[str, Any]:
    job = (read("made.json") or {"jobs": {}})["jobs"].get(WORDS[1])
    if option("cluster-id") != CLUSTER["cluster_id"]:
        refuse("conflict", f"context {option('context')} leads to another cluster")
    if job is None:
        refuse("not-found", f"no job {WORDS[1]}")
    if option("run-id") not in (None, job["run_id"]):
        refuse("conflict", f"{WORDS[1]} is of another run")
    return job


def told(job: dict[str, Any]) -> dict[str, Any]:
    state = (FOLDER / "state").read_text() if (FOLDER / "state").exists() else "running"
    if states := read("states.json"):  # of each start
        state = states[len(read("made.json")["starts"]) - 1]
    running = 2 if state == "running" else 0
    return {"state": state, "reason": None, "nodes": {"wanted": 2, "running": running, "ready": running}, "restarts": 1,
            "pods": [], "conditions": [], "pod_selector": "", "container": "pytorch", "run_id": job["run_id"],
            "cluster": CLUSTER, "findings": read("findings.json") or []}  # fmt: skip


def list_() -> None:
    jobs = (read("made.json") or {"jobs": {}})["jobs"]
    answer({"total": len(jobs), "jobs": [{"name": name, "run_id": job["run_id"]} for name, job in jobs.items()]})


def status() -> None:
    answer(told(job_or_refuse()))


def wait() -> None:
    job, deadline = job_or_refuse(), time.monotonic() + float(option("timeout") or 0)
    while True:
        data = told(job)
        if PROGRAM == "manage_ray" and not read("submitted.json"):  # a Ray cluster without a job: ready
            answer(data)
        if data["state"] in ("finished", "failed"):
            answer(data, code=0 if data["state"] == "finished" else 1)
        if time.monotonic() >= deadline:
            refuse("timeout", "still going", data)
        time.sleep(0.02)
        job = job_or_refuse()


def logs() -> None:
    job_or_refuse()
    lines = read("log.json") or ["[0] trainyard step=7 loss=2.50000 step_s=0.5000 blocked_s=0.0000 tokens_per_s=1000"]
    if "--follow" in WORDS:
        for line in lines:
            print(json.dumps({"type": "log", "rank": 0, "pod": "toy-master-0", "line": line}))
    answer({"lines": lines, "times": read("times.json") or None})


def delete() -> None:
    if WORDS[1] not in (read("made.json") or {"jobs": {}})["jobs"]:
        answer({"state": "absent"})
    job_or_refuse()
    if "--yes" in WORDS:
        with Made() as made:
            del made["jobs"][WORDS[1]]
    answer({"deleted": WORDS[1]}, changed=(f"PyTorchJob ml/{WORDS[1]}",) if "--yes" in WORDS else ())


def submit() -> None:
    (FOLDER / "submitted.json").write_text('["s-1"]')
    answer({"submission_id": "s-1"}, changed=("s-1",))


def fetch() -> None:
    output = Path(WORDS[2])
    step = {"step": 1, "time": time.time(), "incarnation": 1, "loss": 2.0, "step_s": 0.1, "blocked_s": 0.0}
    (output / "steps.jsonl").write_text(json.dumps(step) + "\n")
    answer({"files": ["steps.jsonl"]}, changed=(str(output / "steps.jsonl"),))


def main() -> None:
    with (FOLDER / "calls.jsonl").open("a") as calls:
        calls.write(json.dumps([PROGRAM, *WORDS]) + "\n")
    answers = read("answers.json")
    if "--dry-run" not in WORDS and (late := read("late.json")) and late["verb"] == VERB:
        (FOLDER / "late.json").rename(FOLDER / "late-now.json")  # for one call
        time.sleep(late["seconds"])
    if read("not-yet.json") == VERB:
        (FOLDER / "not-yet.json").unlink()  # for one call
        refuse("not-found", f"no job {WORDS[1]} yet")
    override = answers.get(f"{VERB} for real" if "--dry-run" not in WORDS else VERB) or answers.get(VERB)
    if override and "error" in override:
        refuse(override["error"], f"{VERB} was told to refuse")
    if override and "after" in override:  # it does its work, and its answer is lost
        globals()["answer"] = lambda *_, **__: refuse(override["after"], f"{VERB} was told to say so")
    elif override:
        answer(override.get("data", {}), checks=tuple(override.get("checks", ())), code=override.get("code", 0))
    globals()["list_" if VERB == "list" else VERB.replace("-", "_")]()


main()
