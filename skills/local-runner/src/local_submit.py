"""Submit: one supervisor a run folder, whoever asks, how often and at the same time."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trainyard_shell as shell

import local_budget
from local_checks import writable_folder
from local_command import arguments, clean_environment, job_environment
from local_folder import ENDED, RunFolder, try_lock, write_json
from local_spec import Spec, differences
from trainyard_hiding import hidden_variables
from local_home import at_home
from local_status import look, settled, supervisor_of, view
from trainyard_files import missing, remove_empty

LOCK_TIMEOUT_S = 20.0
TAKE_OVER_TIMEOUT_S = 20.0
RECORDS_BYTES = 64 << 10
"""What the records of a start take, with room to spare: a job that starts without it fails at its first line."""
ACCEPTING = "or, once it has ended, --resume --accept-changes (the checkpoints stay where they are)"
PROGRAM = Path(__file__).with_name("local_supervisor.py")


@dataclass(frozen=True)
class Answer:
    data: dict[str, Any]
    changed: list[str]


def known(folder: RunFolder) -> dict[str, Any]:
    """What was submitted in this folder before, with the paths that hold here; {} when nothing was."""
    seen = look(folder)
    return {**at_home(folder, seen.spec), **({"run_id": seen.run_id} if seen.run_id else {})}


def submit(folder: RunFolder, spec: Spec, *, resume: bool, accept_changes: bool = False) -> Answer:
    """Start the run's supervisor, or say that there is nothing to start. Raises SkillError.

    `accept_changes`: a run that has ended goes on with another specification, also a finished one; the same call again
    starts nothing then. What a submit made goes again where it fails.
    """
    with _made_folder(folder.path):
        try:
            lock = _lock_or_running(folder)
            if lock is None:
                _same_run(folder, spec)
                return Answer(view(folder), [])
            try:
                if _needs_start(folder, spec, resume, accept_changes):
                    _start(folder, spec, lock)
                    return Answer(view(folder), [f"supervisor started in {folder.path}"])
                return Answer(view(folder), [])
            finally:
                os.close(lock)  # the supervisor has it too
        except OSError as error:
            raise _unwritable(folder, error) from error


def _unwritable(folder: RunFolder, error: OSError) -> shell.SkillError:
    return shell.cannot_write(
        error.filename or folder.path, error, "free space, or --run-dir on another disk; nothing was started"
    )


@contextmanager
def _made_folder(path: Path) -> Iterator[None]:
    """The run folder is there; the folders made for it go again where what follows fails and leaves them empty."""
    made = missing(path)
    try:
        writable_folder(path)
        yield
    except BaseException:
        remove_empty(made)
        raise


def _start(folder: RunFolder, spec: Spec, lock: int) -> None:
    """With the lock in hand. A start that fails leaves the files as they were."""
    seen = look(folder)
    try:
        if shutil.disk_usage(folder.path).free < RECORDS_BYTES:
            raise OSError(errno.ENOSPC, "the disk is full", str(folder.path))
        write_json(folder.spec, {**spec.document(), "folder": str(folder.path)})
        _start_supervisor(folder, spec, lock)
    except (OSError, shell.SkillError):  # there is no supervisor then; one may be there after Ctrl-C
        with suppress(OSError):
            if seen.spec or seen.damaged or seen.runner:
                write_json(folder.spec, seen.spec)
            else:  # the lock's file goes last, and by whoever holds it: see try_lock
                for each in (folder.spec, folder.runner, folder.supervisor_log, folder.lock):
                    each.unlink(missing_ok=True)
        raise


def plan(folder: RunFolder, spec: Spec, *, resume: bool, accept_changes: bool = False) -> dict[str, Any]:
    """What `submit` would do, and nothing done."""
    seen = settled(folder)
    if seen.alive:
        _same_run(folder, spec)
    attempts = folder.attempts()
    environ = clean_environment(os.environ)
    attempt = attempts[-1] + 1 if attempts else 0
    added = job_environment(spec, environ, run_dir=folder.path, attempt=attempt)
    return {
        "would_start": not seen.alive and _needs_start(folder, spec, resume, accept_changes),
        "arguments": arguments(spec, environ),
        "environment": hidden_variables(added),
        "workdir": spec.workdir,
        "files": [str(path) for path in (folder.spec, folder.runner, folder.lock, folder.log(attempt))],
        "state": seen.runner.get("state") if seen.runner else None,
    }


def _lock_or_running(folder: RunFolder) -> int | None:
    """The run's lock, or None when its supervisor is at work. Another submit may hold it for a moment."""
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    while True:
        lock = try_lock(folder)
        if lock is not None:
            return lock
        if settled(folder).alive:
            return None
        if time.monotonic() > deadline:
            raise shell.SkillError(
                "timeout", f"{folder.lock} is held, and no supervisor shows itself", hint="the same call", retryable=True
            )
        time.sleep(0.05)


def _same_run(folder: RunFolder, spec: Spec, accept_changes: bool = False) -> None:
    """Raises SkillError `conflict` where the folder is another run's, or this run's with another specification."""
    seen = look(folder)
    if seen.run_id != spec.run_id:
        message = f"{folder.path} belongs to run {seen.run_id}, not {spec.run_id}"
        raise shell.SkillError("conflict", message, hint="another --run-dir")
    if seen.original and not seen.alive:
        message = f"{folder.path} is a copy of run {seen.run_id}, which is in {seen.original}; two runs of one id would fight"
        hint = f"go on in {seen.original}; or remove that, if the run is to go on here; or start a run of its own with another --run-dir and --run-id (deploy.py run --fresh)"
        raise shell.SkillError("conflict", message, hint=hint)
    stored = at_home(folder, seen.spec)
    differing = changes(folder, seen.spec, spec)
    if accept_changes:  # in another folder of checkpoints it would begin anew
        differing = [name for name in differing if name == "checkpoints"]
    if differing:
        raise shell.SkillError(
            "conflict",
            f"run {spec.run_id} was submitted with another {', '.join(differing)}",
            hint=f"the values in {folder.spec}; another --run-dir and run id; {ACCEPTING}",
            data={"submitted": {name: stored.get(name) for name in differing if not name.startswith("env ")}},
        )


def changes(folder: RunFolder, stored: dict[str, Any], spec: Spec) -> list[str]:
    """The members that differ from what was submitted; [] where that is damaged or gone, for the call brings every word again.

    Where the run was moved, a path may be as it was or as it would be here: the caller wrote some of them by hand.
    """
    wanted = spec.document()
    here = differences(at_home(folder, stored), wanted) if stored else []
    return [name for name in here if name in differences(stored, wanted)]


def _needs_start(folder: RunFolder, spec: Spec, resume: bool, accept_changes: bool) -> bool:
    """With the lock in hand: whether a supervisor is to be started. Raises SkillError `conflict`."""
    seen = look(folder)
    if seen.runner is None and not seen.damaged:  # nothing ever ran here, whatever an interrupted submit wrote
        if seen.original:
            _same_run(folder, spec)
        return True
    _same_run(folder, spec, accept_changes)
    if seen.damaged and not resume:
        raise shell.SkillError("conflict", seen.damaged[-1], hint="the same call with --resume goes on, whatever it said")
    if (seen.runner or {}).get("state") == "finished":
        if not changes(folder, seen.spec, spec):
            return False
        local_budget.refuse_used_up(folder, spec, seen.runner)
        return True
    if not resume:
        now = view(folder)
        word = now["state"] if now["state"] in ENDED else f"{now['state']}: its supervisor is gone"
        raise shell.SkillError("conflict", f"run {spec.run_id} is {word}", hint="the same call with --resume", data=now)
    local_budget.refuse_used_up(folder, spec, seen.runner)
    return True


def _start_supervisor(folder: RunFolder, spec: Spec, lock: int) -> None:
    """Returns once runner.json names the new supervisor, which then owns the lock."""
    # the supervisor is a process of the run too: a trainer that it starts directly looks for the id in its parent
    run = {"TRAINYARD_RUN_ID": spec.run_id, "TRAINYARD_RUN_DIR": str(folder.path), "TRAINYARD_RUNNER_ENV": json.dumps(spec.env)}
    with folder.supervisor_log.open("ab") as log:
        supervisor = subprocess.Popen(
            [sys.executable, "-E", "-s", str(PROGRAM), str(folder.path), str(lock)],
            env=clean_environment(os.environ) | run,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(lock,),
            start_new_session=True,
        )

    def has_taken_over() -> bool:
        return _supervisor_pid(folder) == supervisor.pid or supervisor.poll() is not None

    if not shell.wait_until(has_taken_over, timeout_s=TAKE_OVER_TIMEOUT_S, interval_s=0.02):
        supervisor.kill()
        supervisor.wait()
        raise shell.SkillError("timeout", "the supervisor did not start", hint="the same call", retryable=True)
    if _supervisor_pid(folder) == supervisor.pid:
        return
    if supervisor.returncode == os.EX_IOERR:
        raise OSError(errno.ENOSPC, "the supervisor could not write it; is the disk full?", str(folder.runner))
    tail = folder.supervisor_log.read_text(errors="replace")[-500:]
    raise shell.SkillError("internal", f"the supervisor ended at once: {tail}", hint=f"see {folder.supervisor_log}")


def _supervisor_pid(folder: RunFolder) -> int | None:
    identity = supervisor_of(look(folder).runner)
    return identity.pid if identity else None
