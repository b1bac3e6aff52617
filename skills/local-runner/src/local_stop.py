"""Stop: ask the supervisor; where there is none, end what it left behind. Nothing of the run lives afterwards."""

from __future__ import annotations

import os
import time
from typing import Any

import trainyard_shell as shell

from local_folder import ENDED, RunFolder, try_lock
from local_process import Identity, end_all, is_alive, send
from local_record import RunRecord
from local_status import read, run_processes, settled, supervisor_of, view
from local_system import STOP, STOP_NOW, user_name

MARGIN_S = 30.0


def plan(folder: RunFolder, now: bool) -> list[str]:
    """What `stop` would do, in words."""
    seen = view(folder)
    if seen["state"] in ENDED:
        return []
    if seen["supervisor_pid"]:
        spec = read(folder.spec) or {}
        grace = "no grace" if now else f"{spec.get('stop_grace_s')} s grace"
        return [f"SIGTERM to the launcher (pid {seen['launcher_pid']}), {grace}, SIGKILL to every process that is left"]
    return [f"SIGTERM, then SIGKILL to pid {pid}" for pid in seen["orphans"]] + ["write stopped into runner.json"]


def stop(folder: RunFolder, now: bool) -> tuple[dict[str, Any], list[str]]:
    """(view, changed). Raises SkillError `timeout` or `permission`."""
    grace_s = 0.0 if now else float((read(folder.spec) or {}).get("stop_grace_s", 60.0))
    before, alive = settled(folder)
    if before and before.get("state") in ENDED:
        return view(folder), []
    try:
        if alive and before:
            _ask(folder, supervisor_of(before), now, grace_s)
        else:
            _end_orphans(folder, grace_s)
    except PermissionError as error:
        raise shell.SkillError("permission", "the run is another user's", hint="use the account that submitted it") from error
    seen = view(folder)
    return seen, [f"run {seen['run_id']} is {seen['state']}"]


def _ask(folder: RunFolder, supervisor: Identity | None, now: bool, grace_s: float) -> None:
    if supervisor:
        send(supervisor, STOP_NOW if now else STOP)
    shell.progress(f"stopping: {grace_s:g} s to save, then SIGKILL")
    if not shell.wait_until(lambda: not is_alive(supervisor), timeout_s=grace_s + MARGIN_S, interval_s=0.1):
        raise shell.SkillError(
            "timeout", "the supervisor has not ended the run yet", hint="the same call", retryable=True, data=view(folder)
        )
    runner, _ = settled(folder)
    if runner and runner.get("state") not in ENDED:  # killed while it was stopping
        _end_orphans(folder, grace_s)


def _end_orphans(folder: RunFolder, grace_s: float) -> None:
    """Without a supervisor: end the processes and write the word that it would have written, under its lock."""
    lock = shell.wait_until(lambda: try_lock(folder), timeout_s=MARGIN_S, interval_s=0.1)
    if lock is None:
        raise shell.SkillError("timeout", f"{folder.lock} is held", hint="the same call", retryable=True)
    try:
        runner, spec = read(folder.runner), read(folder.spec) or {}
        if runner and runner.get("state") in ENDED:
            return
        run_id = str(spec.get("run_id"))
        left = end_all(lambda: run_processes(run_id), grace_s=grace_s)
        if left:
            pids = [process.pid for process in left]
            raise shell.SkillError("timeout", f"not even SIGKILL ends the processes {pids}", hint="the same call later")
        _write_stopped(folder, runner or _never_started(spec))
    finally:
        os.close(lock)


def _write_stopped(folder: RunFolder, runner: dict[str, Any]) -> None:
    user = user_name(os.getuid())
    record = RunRecord(folder, {**runner, "stop_requested": user})
    record.event("stop-requested", by=user)
    record.end("stopped", f"stopped by {user}; the supervisor was already gone", None)


def _never_started(spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "format": 1, "run_id": spec.get("run_id"), "name": spec.get("name"), "supervisor": None, "launcher": None,
        "attempt": 0, "restarts": 0, "max_restarts": spec.get("max_restarts"), "started": time.time(), "log": None,
    }  # fmt: skip
