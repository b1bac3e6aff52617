"""status, health, watch and progress of a run on a cluster: the same answers as of a run folder, with what Kubernetes says."""

from __future__ import annotations

import math
import signal
import sys
import time
from typing import Any

import trainyard_kube as kube
import trainyard_shell as shell
from cluster_run.clock import clock_check
from cluster_run.cluster_checks import cluster_checks
from cluster_run.named import Named
from cluster_run.run import ClusterRun
from cluster_run.view import ClusterView, Looker, looker_at
from run_health.checks import health_checks
from run_health.limits import Limits
from run_health.records import LITTLE_DISK_BYTES, NO_DISK_BYTES
from run_health.restart import restart_point, restart_warnings
from run_view.listening import Listening
from run_view.progress import progress_data
from run_view.status import notes, status_data
from trainyard_shell import Check, clean
from trainyard_watch import SIGNED_OUT_S

WHOLE_UP_TO_BYTES = 24 << 20
MAX_ROWS = 64
INTERVAL_S = 10.0
"""Between two looks at a run on a cluster: each is a few requests and a command in a pod."""
WATCH_TIMEOUT_S = 600.0
HERE_ALONE = ("process.alive", "disk.space", "ranks.stopped")
"""Checks of this machine's processes and disk, which are not the run's."""


def status_result(named: Named, stall_factor: float) -> shell.Result:
    with looker_at(named) as looker:
        found = looker.look(stall_factor=stall_factor, whole_bytes=WHOLE_UP_TO_BYTES // 2)
        view = found.observation
        data = data_of(found)
        data["summary"] = _summary(found, stall_factor) if found.complete and found.has_records else None
        data["restart_point"] = restart_point(view).data() if found.has_records else None
        data["notes"] = _notes(found) + (restart_warnings(view) if found.has_records else [])
        next_lines = [f"monitor_training.py health {named.words}"]
        if data["summary"] is None and found.has_records:
            data["notes"].append("the run is too long to be read whole here: `report` has the summary")
            next_lines.append(f"monitor_training.py report {named.words}")
        return shell.Result(data=data, next=next_lines, truncated=len(found.run.pods) > MAX_ROWS or not found.complete)


def _summary(found: ClusterView, stall_factor: float) -> dict[str, Any]:
    from goodput.of_view import history_of, summary_of

    history, booked = history_of(found.observation, stall_factor)
    return summary_of(found.observation, history, booked)


def data_of(found: ClusterView) -> dict[str, Any]:
    """What `status` and `watch` say: the fields of a run folder's, then the cluster's."""
    run, data = found.run, status_data(found.observation)
    if data["log"]:
        data["log"] = {**data["log"], "file": found.logs.words}
    if not found.has_records:
        data |= {"step": None, "last_checkpoint": None}
        data["line"] = f"{data['state']}: neither the run folder nor a log can be read"
    return {
        **data,
        "run_id": run.run_id,
        "engine": run.engine,
        "job": run.job_name,
        "cluster": run.cluster.identity(),
        "pod_selector": run.selector,
        "records": found.source,
        "trainer_status": _trainer_status(run),
        "pods": [_row(pod) for pod in run.pods[:MAX_ROWS]],
        "pods_total": len(run.pods),
    }


def _trainer_status(run: ClusterRun) -> dict[str, Any] | None:
    """What a TrainJob's pods have reported to Kubeflow Trainer (2.2 and newer): data, shown as it is."""
    told = kube.status(run.job or {}).get("trainerStatus")
    if not isinstance(told, dict):
        return None
    metrics = (
        [each for each in told.get("metrics") or [] if isinstance(each, dict)] if isinstance(told.get("metrics"), list) else []
    )
    figures = {
        key: value for key in ("progressPercentage", "estimatedRemainingSeconds") if isinstance(value := told.get(key), int)
    }
    rows = {clean(str(each.get("name")), 80): clean(str(each.get("value")), 80) for each in metrics[:50]}
    return {**figures, "metrics": rows, "last_updated": clean(str(told.get("lastUpdatedTime") or ""), 40) or None}


def _row(pod: Any) -> dict[str, Any]:
    own = pod.container()
    row = {"name": pod.name, "node_rank": pod.node_rank, "node": pod.node, "phase": pod.phase, "container": pod.main}
    return {**row, "state": own.state if own else None, "restarts": own.restarts if own else 0}


def _notes(found: ClusterView) -> list[str]:
    about_records = notes(found.observation) if found.has_records else [f"tried: {each}" for each in found.tried[:6]]
    return [clean(note, 400) for note in [*found.notes(), *about_records]]


def checks_of(found: ClusterView, limits: Limits) -> list[Check]:
    """Kubernetes first: what it says explains the silence of the rest."""
    view = found.observation
    own = [_of_cluster(check, found) for check in health_checks(view, limits) if check.id not in HERE_ALONE]
    said = cluster_checks(found.run, view.state, found.clocks.now, limits.start_limit_s)
    state = [check for check in own if check.id == "run.state"]
    if not found.has_records:
        own = [check if check.id in ("run.state", "progress.stalled") else _unread(check) for check in own]
    rest = [check for check in own if check.id != "run.state"]
    return [*state, *said, clock_check(found.clocks), records_check(found), *rest, _disk_check(found)]


def _of_cluster(check: Check, found: ClusterView) -> Check:
    if check.id == "run.state" and check.status == "unknown":
        return Check(check.id, check.status, check.summary, check.evidence, "the checks below say what Kubernetes tells")
    if check.id == "progress.stalled" and not found.has_records and check.status != "skipped":
        return Check(check.id, "unknown", "no step can be read anywhere", "; ".join(found.tried)[:300], "see records.readable")
    return check


def _unread(check: Check) -> Check:
    return Check(check.id, "skipped", "nothing of the run's records could be read: see records.readable")


def records_check(found: ClusterView) -> Check:
    """Whether anything can be read that tells steps, and from where."""
    name, waits = "records.readable", found.observation.state.name == "starting"
    tried = clean("; ".join(found.tried), 600)
    if found.has_records:
        return Check(name, "pass", f"read from {found.source}", tried or None)
    if waits and not any(own.has_log for pod in found.run.pods for own in pod.containers if own.name == pod.main):
        return Check(name, "skipped", "no container has begun: there is no log yet", tried or None)
    return Check(name, "unknown", "neither the run folder nor a log can be read", tried, _by_helper(found))


def _by_helper(found: ClusterView) -> str:
    """How the volume is read where no pod of the run runs any more."""
    from cluster_run.run_files import run_dir_of

    for pod in found.run.pods:
        claims = [
            each["persistentVolumeClaim"]["claimName"]
            for each in pod.object["spec"].get("volumes") or []
            if each.get("persistentVolumeClaim")
        ]
        if claims and (folder := run_dir_of(pod)):
            where = f"--claim {claims[0]} -n {found.run.cluster.namespace}"
            return f"pod_checkpoints.py fetch {folder} ./{found.run.name} {where} (checkpoint-manager) copies it through a helper pod; then monitor_training.py health ./{found.run.name}"
    if found.run.run_id:
        return f"pod_checkpoints.py fetch /trainyard/{found.run.name}-{found.run.run_id} ./{found.run.name} --claim CLAIM (checkpoint-manager), then monitor_training.py health ./{found.run.name}"
    return "a log collector of the cluster may still have them"


def _disk_check(found: ClusterView) -> Check:
    name = "disk.space"
    if found.observation.state.ended:
        return Check(name, "skipped", found.observation.state.told)
    if found.volume is None or not found.volume.disks:
        return Check(name, "skipped", "the volume was not looked at")
    path, free, size = min(found.volume.disks, key=lambda row: row[1])
    least = min(NO_DISK_BYTES, size // 20)
    if free <= least:
        return Check(
            name,
            "fail",
            f"the volume of {path} is full: {free >> 20} MiB free",
            None,
            "free space there; saves are lost meanwhile",
        )
    status = "pass" if free > LITTLE_DISK_BYTES else "warn"
    fix = None if status == "pass" else "free space there; saves are lost meanwhile"
    return Check(name, status, f"{free / 2**30:.1f} GiB free for {path}", None, fix)


def health_result(named: Named, stall_factor: float, start_limit_s: float) -> shell.Result:
    with looker_at(named) as looker:
        found = looker.look(stall_factor=stall_factor)
        data = data_of(found)
        keep = ("name", "state", "line", "step", "total_steps", "job", "records")
        checks = checks_of(found, Limits(stall_factor, start_limit_s, every_loss=True))
        return shell.Result(data={key: data[key] for key in keep} | {"notes": _notes(found)}, checks=checks)


def progress_result(named: Named) -> shell.Result:
    with looker_at(named) as looker:
        found = looker.look()
        data = progress_data(looker.folder)
        if data["source"] and data["source"] != "steps.jsonl":
            data["source"] = found.logs.words
        if data["age_s"] is not None and found.observation.last is not None:
            data["age_s"] = found.observation.last_step_age_s
        return shell.Result(data=data)


def watch_result(
    named: Named, interval_s: float | None, once: bool, timeout_s: float | None, limits: Limits, listening: Listening
) -> shell.Result:
    from run_view.watch import JsonLines, Terminal

    live = sys.stdout.isatty() and shell.wants_table(sys.argv[1:])
    if timeout_s is None and not sys.stdout.isatty():
        timeout_s = WATCH_TIMEOUT_S
    deadline = math.inf if timeout_s is None else time.monotonic() + timeout_s
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: the copies are removed
    every_s = INTERVAL_S if interval_s is None else interval_s
    heard = listening.around(Terminal() if live else JsonLines(), interval_s=every_s, stall_factor=limits.stall_factor)
    with looker_at(named) as looker, heard as screen:
        data = _look_until_end(looker, screen, limits, every_s, once, deadline)
    data |= screen.data()
    if live:
        data = {"name": data["name"], "state": data["state"]}
    return shell.Result(data=data, ok=once or data["state"] in ("finished", "stopped"))


def _look_until_end(
    looker: Looker, screen: Any, limits: Limits, interval_s: float, once: bool, deadline: float
) -> dict[str, Any]:
    """Trouble with the API server is told as `unknown` and waited out; credentials that end are read anew by the kit."""
    data: dict[str, Any] = {"name": looker.named.text, "state": "unknown"}
    pause_s, told = interval_s, ""
    while True:
        try:
            found = looker.look(stall_factor=limits.stall_factor)
            data, told, pause_s = data_of(found), "", interval_s
            shown = {key: value for key, value in data.items() if key not in ("pods", "cluster", "pod_selector")}
            screen.show(found.observation, shown, checks_of(found, limits))
            if once or found.observation.state.ended:
                return data
        except shell.SkillError as error:
            if once or not kube.may_return(error):
                raise
            data = {**data, "state": "unknown", "line": f"unknown: {error}"}
            if told != error.code:
                shell.emit("trouble", time=time.time(), state="unknown", code=error.code, line=f"unknown: {error}")
            told, pause_s = error.code, min(max(2 * pause_s, interval_s), max(SIGNED_OUT_S, interval_s))
        if time.monotonic() >= deadline:
            code = "unreachable" if told else "timeout"
            message = f"the run is still {data['state']}" if not told else f"{data['line']}"
            raise shell.SkillError(code, message, hint="the same call, or a longer --timeout-s", retryable=True, data=data)
        time.sleep(max(0.0, min(pause_s, deadline - time.monotonic())))
