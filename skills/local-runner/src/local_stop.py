"""Stop: ask the supervisor; where there is none, end what it left behind. Nothing of the run lives afterwards."""

from __future__ import annotations

import errno
import os
import time
from typing import Any

import trainyard_shell as shell

from local_folder import ENDED, RunFolder, try_lock
from local_process import end_all, send
from trainyard_process import Identity, is_alive
from local_record import RunRecord
from local_status import Records, look, run_processes, settled, view
from local_system import STOP, STOP_NOW, user_name

MARGIN_S = 30.0


def plan(folder: RunFolder, now: bool) -> list[str]:
    """What `stop` would do, in words."""
    refuse_copy(folder)
    seen = view(folder)
    if seen["state"] in ENDED:
        return []
    if seen["supervisor_pid"]:
        grace = "no grace" if now else f"{_grace_s(folder):g} s grace"
        return [f"SIGTERM to the launcher (pid {seen['launcher_pid']}), {grace}, SIGKILL to every process that is left"]
    return [f"SIGTERM, then SIGKILL to pid {pid}" for pid in seen["orphans"]] + ["write stopped into runner.json"]


def refuse_copy(folder: RunFolder) -> None:
    """Raises SkillError `conflict` in a copy of a run: whoever stops it means the run, and that is elsewhere."""
    records = settled(folder)
    if records.original and not records.alive and not run_processes(folder, records.run_id):
        message = f"{folder.path} is a copy of run {records.run_id}, which is in {records.original}; nothing of the copy runs"
        raise shell.SkillError("conflict", message, hint=f"run_local.py stop {records.original}")


def stop(folder: RunFolder, now: bool) -> tuple[dict[str, Any], list[str]]:
    """(view, changed). Raises SkillError `timeout`, `permission`, `unreachable` or `conflict`."""
    grace_s = 0.0 if now else _grace_s(folder)
    before = settled(folder)
    if before.ended:
        return view(folder), []
    refuse_copy(folder)
    try:
        if before.supervisor:
            _ask(folder, before.supervisor, now, grace_s)
        else:
            _end_orphans(folder, grace_s)
    except PermissionError as error:
        raise shell.SkillError("permission", "the run is another user's", hint="use the account that submitted it") from error
    except OSError as error:
        raise shell.cannot_write(folder.path, error, "free space, or mount it for writing; then the same call") from error
    seen = view(folder)
    if seen["state"] not in ENDED:
        full = OSError(errno.ENOSPC, "its processes are ended, the word that it was stopped is lost; is the disk full?")
        raise shell.cannot_write(folder.runner, full, "free space; then the same call")
    return seen, [f"run {seen['run_id']} is {seen['state']}"]


def _grace_s(folder: RunFolder) -> float:
    return float(look(folder).spec.get("stop_grace_s") or 60.0)


def _ask(folder: RunFolder, supervisor: Identity, now: bool, grace_s: float) -> None:
    send(supervisor, STOP_NOW if now else STOP)
    shell.progress(f"stopping: {grace_s:g} s to save, then SIGKILL")
    if not shell.wait_until(lambda: not is_alive(supervisor), timeout_s=grace_s + MARGIN_S, interval_s=0.1):
        raise shell.SkillError(
            "timeout", "the supervisor has not ended the run yet", hint="the same call", retryable=True, data=view(folder)
        )
    if not settled(folder).ended:  # killed while it was stopping
        _end_orphans(folder, grace_s)


def _end_orphans(folder: RunFolder, grace_s: float) -> None:
    """Without a supervisor: end the processes and write the word that it would have written, under its lock."""
    lock = shell.wait_until(lambda: try_lock(folder), timeout_s=MARGIN_S, interval_s=0.1)
    if lock is None:
        raise shell.SkillError("timeout", f"{folder.lock} is held", hint="the same call", retryable=True)
    try:
        seen = look(folder)
        if seen.ended:
            return
        left = end_all(lambda: run_processes(folder, seen.run_id), grace_s=grace_s)
        if left:
            pids = [process.pid for process in left]
            raise shell.SkillError("timeout", f"not even SIGKILL ends the processes {pids}", hint="the same call later")
        _write_stopped(folder, seen.runner or _never_started(folder, seen))
    finally:
        os.close(lock)


def _write_stopped(folder: RunFolder, runner: dict[str, Any]) -> None:
    user = user_name(os.getuid())
    record = RunRecord(folder, {**runner, "stop_requested": user})
    record.event("stop-requested", by=user)
    record.end("stopped", f"stopped by {user}; the supervisor was already gone", None)


def _never_started(folder: RunFolder, seen: Records) -> dict[str, Any]:
    """Also where runner.json was damaged: the logs tell how often the job was started."""
    return {
        "format": 1, "run_id": seen.run_id, "name": seen.spec.get("name"), "supervisor": None, "launcher": None,
        "attempt": max(folder.attempts(), default=0), "restarts": 0, "max_restarts": seen.spec.get("max_restarts"),
        "started": time.time(), "log": None,
    }  # fmt: skip
