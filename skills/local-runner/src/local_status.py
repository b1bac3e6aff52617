"""What is known about a run: what was written, held against the processes that live."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import trainyard_shell as shell

import local_spec
from local_folder import ENDED, DamagedFile, RunFolder, read_json
from local_process import Identity, ancestors, environment, is_alive, of_run, stat

NEVER_STARTED = "submit was interrupted before the supervisor started"


def open_run(path: str) -> RunFolder:
    """The run folder at `path`, which must hold a run of this skill."""
    folder = RunFolder(Path(os.path.abspath(path)))
    if read(folder.spec) is None:
        hint = "run_local.py list FOLDER" if folder.path.is_dir() else "check the path: a relative one starts at this folder"
        raise shell.SkillError("not-found", f"no run was submitted in {folder.path}", hint=hint)
    return folder


def read(path: Path) -> dict[str, Any] | None:
    try:
        return read_json(path)
    except DamagedFile as error:
        raise shell.SkillError("conflict", str(error), hint="look at the file; a new --run-dir starts afresh") from error
    except PermissionError as error:
        raise shell.SkillError("permission", f"cannot read {path}", hint="use the account that submitted it") from error


def supervisor_of(runner: dict[str, Any] | None) -> Identity | None:
    return Identity.from_document((runner or {}).get("supervisor"))


def run_processes(run_id: str) -> list[Identity]:
    """Living processes of the run, seen from outside; never we or those who called us."""
    return of_run(run_id, except_pids=ancestors(os.getpid()))


def settled(folder: RunFolder) -> tuple[dict[str, Any] | None, bool]:
    """(runner.json, whether its supervisor lives), in this order of looking: an end that was just written counts."""
    runner = read(folder.runner)
    while runner and runner.get("state") not in ENDED and not is_alive(supervisor_of(runner)):
        again = read(folder.runner)
        if again == runner:
            return runner, False
        runner = again
    return runner, runner is not None and runner.get("state") not in ENDED


def view(folder: RunFolder) -> dict[str, Any]:
    """The data of `status`: runner.json, `lost` and `orphaned` told apart, and the ranks' pids."""
    spec, (runner, alive) = read(folder.spec) or {}, settled(folder)
    record = runner or {"reason": NEVER_STARTED}
    run_id = str(record.get("run_id") or spec.get("run_id"))
    processes = [process for process in run_processes(run_id) if not alive or process != supervisor_of(runner)]
    state = record.get("state", "lost")
    reason = record.get("reason")
    if not alive and state not in ENDED:
        state = "orphaned" if processes else "lost"
        reason = reason or f"the supervisor (pid {(record.get('supervisor') or {}).get('pid')}) is gone"
    log = record.get("log")
    return {
        "run_id": run_id,
        "name": record.get("name") or spec.get("name"),
        "state": state,
        "reason": shell.clean(reason) if reason else None,
        "exit_code": record.get("exit_code"),
        "attempt": record.get("attempt"),
        "restarts": record.get("restarts", 0),
        "max_restarts": record.get("max_restarts", spec.get("max_restarts")),
        "started": record.get("started"),
        "ended": record.get("ended"),
        "elapsed_s": _elapsed_s(record),
        "run_dir": str(folder.path),
        "checkpoints": spec.get("checkpoints"),
        "log": str(folder.path / log) if log else None,
        "supervisor_pid": record["supervisor"]["pid"] if alive else None,
        "launcher_pid": (record.get("launcher") or {}).get("pid") if alive else None,
        "ranks": ranks(processes),
        "orphans": [process.pid for process in processes] if state == "orphaned" else [],
    }


def _elapsed_s(record: dict[str, Any]) -> float | None:
    """Seconds from the first start to the end, or to now."""
    started = record.get("started")
    return round((record.get("ended") or time.time()) - started, 1) if started else None


def resume_call(folder: RunFolder) -> str:
    return local_spec.resume_call(read(folder.spec) or {}, str(folder.path))


def ranks(processes: list[Identity]) -> list[dict[str, int]]:
    """Rank and pid of each worker. Its own children carry its RANK too: the worker is the one whose parent does not."""
    rank_of = {process.pid: environment(process.pid).get("RANK", "") for process in processes}
    found = []
    for pid, rank in rank_of.items():
        parent = stat(pid)
        if rank.isdigit() and parent and rank_of.get(parent.parent_pid) != rank:
            found.append({"rank": int(rank), "pid": pid})
    return sorted(found, key=lambda row: (row["rank"], row["pid"]))


def wait(folder: RunFolder, timeout_s: float) -> dict[str, Any]:
    """The view once the run has ended or is lost. Raises SkillError `timeout`; tells every change on stderr."""
    deadline, told, poll_s = time.monotonic() + timeout_s, "", 0.05
    while True:
        seen = view(folder)
        line = f"{seen['name']}: {seen['state']}, attempt {seen['attempt']}, restarts {seen['restarts']}"
        if line != told:
            shell.progress(line)
            told = line
        left_s = deadline - time.monotonic()
        ended, has_let_go = seen["state"] in (*ENDED, "lost"), not is_alive(supervisor_of(read(folder.runner)))
        if ended and (has_let_go or left_s <= 0):
            return seen
        if left_s <= 0:
            hint = f"run_local.py wait {folder.path}"
            if seen["state"] == "orphaned":
                hint = f"nobody supervises it: run_local.py stop {folder.path}"
            raise shell.SkillError(
                "timeout", f"still {seen['state']} after {timeout_s:g} s", hint=hint, retryable=True, data=seen
            )
        time.sleep(min(poll_s, left_s))
        poll_s = min(poll_s * 1.5, 1.0)
