"""What is known about a run: what was written, held against the processes that live."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trainyard_shell as shell
from trainyard_files import Unusable

import local_spec
from local_folder import ENDED, RunFolder, read_runner, read_spec
from local_home import at_home, original_of
from local_rotation import is_full
from local_process import of_run, supervisor_of_folder
from trainyard_process import Identity, ancestors, environment, is_alive, serves, stat

NEVER_STARTED = "submit was interrupted before the supervisor started"


def open_run(path: str) -> RunFolder:
    """The run folder at `path`, which must hold a run of this skill."""
    folder = RunFolder(Path(os.path.abspath(path)))
    if not os.path.lexists(folder.spec) and not os.path.lexists(folder.runner):
        hint = "run_local.py list FOLDER" if folder.path.is_dir() else "check the path: a relative one starts at this folder"
        raise shell.SkillError("not-found", f"no run was submitted in {folder.path}", hint=hint)
    return folder


@dataclass(frozen=True)
class Records:
    """What the files of a run folder say, as far as they can be used, and who supervises it."""

    spec: dict[str, Any]
    """{} where there is none, or it is damaged."""
    runner: dict[str, Any] | None
    supervisor: Identity | None
    """Only while it lives, and works for this very folder."""
    damaged: list[str]
    original: Path | None
    """The run's own folder, where this one is a copy."""

    @property
    def run_id(self) -> str | None:
        return (self.runner or {}).get("run_id") or self.spec.get("run_id")

    @property
    def ended(self) -> bool:
        return (self.runner or {}).get("state") in ENDED

    @property
    def was_moved(self) -> bool:
        """Whether the folder in which it was submitted is gone."""
        home = self.spec.get("folder")
        return home is not None and not os.path.lexists(home)

    @property
    def alive(self) -> bool:
        return self.supervisor is not None and not self.ended


def look(folder: RunFolder) -> Records:
    """One look. Raises SkillError permission."""
    damaged: list[str] = []
    spec = _usable(folder.spec, lambda: read_spec(folder), damaged) or {}
    problems = len(damaged)
    runner = _usable(folder.runner, lambda: read_runner(folder), damaged)
    told = supervisor_of_folder(folder.path) if len(damaged) > problems else supervisor_of(runner)
    lives = told is not None and is_alive(told) and serves(environment(told.pid), folder.path)
    return Records(spec, runner, told if lives else None, damaged, original_of(folder, spec))


def _usable(path: Path, read: Callable[[], dict[str, Any] | None], damaged: list[str]) -> dict[str, Any] | None:
    try:
        return read()
    except PermissionError as error:
        raise shell.SkillError("permission", f"cannot read {path}", hint="use the account that submitted it") from error
    except Unusable as error:
        damaged.append(shell.clean(str(error), 300))
    except OSError as error:
        damaged.append(f"{path} cannot be read: {error.strerror}")
    return None


def supervisor_of(runner: dict[str, Any] | None) -> Identity | None:
    return Identity.from_document((runner or {}).get("supervisor"))


def run_processes(folder: RunFolder, run_id: str | None) -> list[Identity]:
    """Living processes of the run, seen from outside; never we or those who called us."""
    return of_run(run_id, folder.path, except_pids=ancestors(os.getpid()))


def settled(folder: RunFolder) -> Records:
    """The records, and whether their supervisor lives, in this order of looking: an end that was just written counts."""
    seen = look(folder)
    while not seen.ended and not seen.supervisor:
        before, seen = seen, look(folder)
        if seen.runner == before.runner:
            break
    return seen


def view(folder: RunFolder) -> dict[str, Any]:
    """The data of `status`: runner.json, `lost` and `orphaned` told apart, and the ranks' pids."""
    seen = settled(folder)
    spec, alive = at_home(folder, seen.spec), seen.alive
    record = seen.runner or {}
    processes = [process for process in run_processes(folder, seen.run_id) if not alive or process != seen.supervisor]
    state = str(record.get("state") or ("running" if alive else "lost"))
    if not alive and state not in ENDED:
        state = "orphaned" if processes else "lost"
    reason, log = _reason(seen, state), record.get("log")
    return {
        "run_id": seen.run_id,
        "name": record.get("name") or spec.get("name"),
        "state": state,
        "reason": shell.clean(reason) if reason else None,
        "last_failure": shell.clean(record["last_failure"]) if record.get("last_failure") else None,
        "exit_code": record.get("exit_code"),
        "attempt": record.get("attempt"),
        "restarts": record.get("restarts") or 0,
        "max_restarts": record.get("max_restarts", spec.get("max_restarts")),
        "started": record.get("started"),
        "ended": record.get("ended"),
        "elapsed_s": _elapsed_s(record),
        "max_hours": spec.get("max_hours"),
        "run_dir": str(folder.path),
        "copy_of": str(seen.original) if seen.original else None,
        "damaged": seen.damaged,
        "checkpoints": spec.get("checkpoints"),
        "log": str(folder.path / log) if log else None,
        "supervisor_pid": seen.supervisor.pid if alive and seen.supervisor else None,
        "launcher_pid": (record.get("launcher") or {}).get("pid") if alive else None,
        "ranks": ranks(processes),
        "orphans": [process.pid for process in processes] if state == "orphaned" else [],
    }


def _reason(seen: Records, state: str) -> str | None:
    if seen.damaged and seen.runner is None:
        return seen.damaged[-1]
    if seen.original and state not in ENDED:
        return f"this folder is a copy; the run is in {seen.original}"
    reason: str | None = (seen.runner or {}).get("reason")
    if seen.runner is None:
        return NEVER_STARTED
    moved = f"the folder was moved here from {seen.spec['folder']}" if seen.was_moved else ""
    if not seen.alive and state in ("orphaned", "lost"):
        gone = f"the supervisor (pid {(seen.runner.get('supervisor') or {}).get('pid')}) is gone" + (moved and f": {moved}")
        return f"{gone}; before that: {reason}" if reason else gone
    if moved and seen.alive:
        return f"{moved} while the run lived, so its supervisor ends it; submit --resume goes on here"
    return reason


def refuse_unreadable(folder: RunFolder, seen: dict[str, Any]) -> None:
    """Raises SkillError `conflict` where runner.json is damaged: how the run stands is not known, only what lives of it."""
    text = next((text for text in seen["damaged"] if text.startswith(f"{folder.runner} ")), None)
    if text is not None:
        pids = [*[row["pid"] for row in seen["ranks"]], *seen["orphans"]]
        lives = (
            f"its supervisor (pid {seen['supervisor_pid']}) writes it anew"
            if seen["supervisor_pid"]
            else f"pids {pids}"
            if pids
            else "nothing"
        )
        hint = f"of the run lives: {lives}. run_local.py stop {folder.path} ends what lives; submit --resume goes on"
        raise shell.SkillError("conflict", text, hint=hint, data=seen)


def record_checks(folder: RunFolder, seen: dict[str, Any]) -> list[shell.Check]:
    """What is wrong with the folder itself: damaged records, a copy, a full disk. All are warnings: `status` has its answer."""
    checks = [shell.Check("files.readable", "warn", text, fix="move that file away") for text in seen["damaged"]]
    if seen["copy_of"]:
        fix = f"run_local.py status {seen['copy_of']}; a run of its own needs another --run-dir and --run-id"
        checks.append(shell.Check("run.copy", "warn", f"this folder is a copy; the run is in {seen['copy_of']}", fix=fix))
    if is_full(folder.path):
        fix = "free space there: while it is full, log lines and saves are lost, and a script may end at its next print"
        checks.append(shell.Check("disk.space", "warn", f"the disk of {folder.path} is full", fix=fix))
    return checks


def _elapsed_s(record: dict[str, Any]) -> float | None:
    """Seconds from the first start to the end, or to now."""
    started = record.get("started")
    return round((record.get("ended") or time.time()) - started, 1) if started else None


def resume_call(folder: RunFolder) -> str:
    spec = at_home(folder, look(folder).spec)
    return (
        local_spec.resume_call(spec, str(folder.path)) if spec else f"run_local.py submit --resume --run-dir {folder.path} ..."
    )


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
        ended, has_let_go = seen["state"] in (*ENDED, "lost"), look(folder).supervisor is None
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
