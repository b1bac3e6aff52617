"""How much an assistant has to read: our answers to five questions, against what kubectl prints for them, in tokens."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks import api_server, doctor_logs, job_status
from benchmarks.measuring import Bound, Group, progress
from tests.components.cluster import build
from tests.skills.monitor.monitor_run_writer import RunWriter

TOKENIZER, VOCABULARY = "bpe_openai", "o200k_base"
GOAL = 1 / 20
PODS, STEPS, TAIL, PIECE = 8, 2_000, 200, 50_000
SOURCE = Path("skills", "monitor", "src")
EVENTS = ("Scheduled", "Pulling", "Pulled", "Created", "Started")


def missing() -> list[str]:
    return [] if importlib.util.find_spec(TOKENIZER) else [f"{TOKENIZER} (pip install bpe-openai)"]


def run(root: Path, folder: Path) -> Group:
    """Deterministic but for times, so once is enough."""
    logs = _logs(folder)
    (folder / "cluster").mkdir()
    with api_server.populated(folder / "cluster", 0) as kubeconfig:
        writer = job_status.Writer(kubeconfig)
        writer.fill(PODS)
        _events(writer, sorted(logs))
        theirs = _theirs(_Kubectl(kubeconfig), logs)
        evidence = _evidence(folder / "evidence", _Kubectl(kubeconfig), logs)
    ours = _ours(root, _run(folder / "run"), evidence)
    bounds, notes, all_ours, all_theirs = [], [], 0, 0
    for question, commands in ours.items():
        mine, other = _tokens(commands[1]), sum(_tokens(text) for text in theirs[question].values())
        all_ours, all_theirs = all_ours + mine, all_theirs + other
        bounds.append(Bound(question, (mine / other,), GOAL, "x"))
        notes.append(f"{question}: {mine:,} tokens of `{commands[0]}`; {other:,} of {', '.join(theirs[question])}")
        progress(f"  {notes[-1]}")
    bounds.append(Bound("all five", (all_ours / all_theirs,), GOAL, "x"))
    notes += [
        f"tokens: {VOCABULARY} of the package bpe-openai; another vocabulary counts others",
        f"kubectl's own output of {PODS} pods and their events in a real API server; a small pod of 20 variables, so the YAML is short",
        f"logs are made up ({STEPS:,} step lines a pod) and counted as `kubectl logs` would print them: an assistant that greps reads less",
        "the fifth question counts whole logs, which is most of the sum of all five: its ratio grows with the logs",
        "ours: a run folder and an evidence folder of the same made-up job; JSON, as it is without a terminal",
    ]
    return Group(f"tokens of an answer, a job of {PODS} pods", notes=notes, bounds=bounds)


def _tokens(text: str) -> int:
    """Piece by piece, which the package wants of a long text."""
    import bpe_openai

    encoding = bpe_openai.get_encoding(VOCABULARY)
    return sum(len(encoding.encode(text[at : at + PIECE])) for at in range(0, len(text), PIECE))


# --- what kubectl prints -----------------------------------------------------------------------------------------------


class _Kubectl:
    def __init__(self, kubeconfig: Path) -> None:
        self._env = {**os.environ, "KUBECONFIG": str(kubeconfig)}

    def __call__(self, *words: str) -> str:
        done = subprocess.run([build.kubectl(), *words], env=self._env, check=True, capture_output=True, text=True, timeout=60)
        return done.stdout


def _theirs(kubectl: _Kubectl, logs: dict[str, str]) -> dict[str, dict[str, str]]:
    """Question -> command -> output."""
    yaml = {"get pods -o yaml": kubectl("get", "pods", "-o", "yaml")}
    told = {"describe pods": kubectl("describe", "pods"), "get events": kubectl("get", "events")}
    tails = {f"logs --tail={TAIL} of every pod": "".join(_tail(text) for text in logs.values())}
    first = next(iter(logs.values()))
    return {
        "is it running, and how far": yaml | {f"logs --tail={TAIL} of one pod": _tail(first)},
        "why did it fail": told | tails,
        "which rank is slow": tails,
        "where does the time go": {"get events": told["get events"], "logs of one pod": first},
        "what errors are in the log": {"logs of every pod": "".join(logs.values())},
    }


def _tail(text: str) -> str:
    return "".join(text.splitlines(keepends=True)[-TAIL:])


def _events(writer: job_status.Writer, pods: list[str]) -> None:
    for pod in pods:
        for number, reason in enumerate(EVENTS):
            about = {"kind": "Pod", "namespace": "default", "name": pod, "apiVersion": "v1"}
            event = {"metadata": {"name": f"{pod}.{number}"}, "involvedObject": about, "reason": reason, "type": "Normal"}
            times = {"firstTimestamp": "2026-11-30T00:00:00Z", "lastTimestamp": "2026-11-30T00:00:00Z", "count": 1}
            text = {"message": f"{reason} container pytorch of a training job", "source": {"component": "kubelet"}}
            writer.send("POST", "/api/v1/namespaces/default/events", event | times | text)


# --- the job, for both -------------------------------------------------------------------------------------------------


def _logs(folder: Path) -> dict[str, str]:
    """By pod; rank 3 fails, the others lose it."""
    logs = {}
    for rank in range(PODS):
        source = random.Random(rank)
        step = doctor_logs.KINDS["step lines"]
        lines = "".join(step(number, source).replace("[rank0]", f"[rank{rank}]") for number in range(STEPS))
        logs["big-master-0" if rank == 0 else f"big-worker-{rank - 1}"] = lines + doctor_logs.end(
            rank, doctor_logs.FAILED if rank == 3 else ""
        )
    return logs


def _evidence(folder: Path, kubectl: _Kubectl, logs: dict[str, str]) -> Path:
    rows = []
    for rank, (name, text) in enumerate(logs.items()):
        (place := folder / "pods" / name).mkdir(parents=True)
        (place / "pytorch.log").write_text(text)
        (place / "pod.json").write_text(kubectl("get", "pod", name, "-o", "json"))
        rows.append({"name": name, "node": None, "node_rank": rank})
    (folder / "events.json").write_text(kubectl("get", "events", "-o", "json"))
    about: dict[str, Any] = {"format": 1, "time": 1_796_000_000.0, "run": "big", "world_size": PODS, "procs_per_node": 1}
    (folder / "evidence.json").write_text(json.dumps(about | {"job": "PyTorchJob/big", "pods": rows, "left_out": []}))
    return folder


def _run(folder: Path) -> Path:
    """A run of 2,000 steps with one restart, and the times of its ranks."""
    run = RunWriter(folder, total_steps=STEPS)
    for last in (STEPS // 2, STEPS):
        run.launch()
        run.live(at=run.step)
        while run.step < last:
            run.train(blocked_s=0.05 if run.step % 100 == 99 else 0.0)
            if run.step % 100 == 0:
                run.commit()
        if last < STEPS:
            run.die_with_attempt()
    run.end("failed")
    (folder / "ranks").mkdir()
    for rank in range(PODS):
        rows = [
            {"time": 1_790_000_000.0 + 10 * each, "rank": rank, "incarnation": 1, "step": 20 * each, "steps": 20}
            for each in range(1, 9)
        ]
        own = 0.7 if rank == 5 else 0.4
        more = {"step_s": 0.75, "own_s": own, "group": "10-1000", "host": f"node-{rank}"}
        (folder / "ranks" / f"rank-{rank:04d}.jsonl").write_text("".join(json.dumps(row | more) + "\n" for row in rows))
    return folder


def _ours(root: Path, run: Path, evidence: Path) -> dict[str, tuple[str, str]]:
    """Question -> (command, output)."""
    calls = {
        "is it running, and how far": ("monitor_training.py", "status", run),
        "why did it fail": ("diagnose_training.py", "doctor", evidence),
        "which rank is slow": ("monitor_training.py", "ranks", run),
        "where does the time go": ("monitor_training.py", "report", run, "--dry-run"),
        "what errors are in the log": ("diagnose_training.py", "summary", evidence),
    }
    return {question: (" ".join(map(str, words[:2])), _answer(root, *words)) for question, words in calls.items()}


def _answer(root: Path, program: str, *words: object) -> str:
    command = [sys.executable, str(root / SOURCE / program), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    document = json.loads(done.stdout)
    if not document.get("data"):
        raise RuntimeError(f"{program} {words[0]} has no answer: {done.stdout[:500]}")
    return done.stdout
