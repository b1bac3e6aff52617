"""Submit: one supervisor a run folder, whoever asks, how often and at the same time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trainyard_shell as shell

from local_checks import writable_folder
from local_command import arguments, clean_environment, job_environment
from local_folder import ENDED, RunFolder, try_lock, write_json
from local_spec import SECRET_NAME, Spec, differences
from local_status import read, settled, supervisor_of, view

LOCK_TIMEOUT_S = 20.0
TAKE_OVER_TIMEOUT_S = 20.0
ACCEPTING = "or, once it has ended, --resume --accept-changes (the checkpoints stay where they are)"
PROGRAM = Path(__file__).with_name("local_supervisor.py")


@dataclass(frozen=True)
class Answer:
    data: dict[str, Any]
    changed: list[str]


def known(folder: RunFolder) -> dict[str, Any]:
    """What was submitted in this folder before; {} when nothing was."""
    return read(folder.spec) or {}


def submit(folder: RunFolder, spec: Spec, *, resume: bool, accept_changes: bool = False) -> Answer:
    """Start the run's supervisor, or say that there is nothing to start. Raises SkillError.

    `accept_changes`: a run that has ended goes on with another specification, also a finished one; the same call again
    starts nothing then.
    """
    writable_folder(folder.path)
    lock = _lock_or_running(folder)
    if lock is None:
        _same_run(folder, spec)
        return Answer(view(folder), [])
    try:
        if _needs_start(folder, spec, resume, accept_changes):
            write_json(folder.spec, spec.document())
            _start_supervisor(folder, spec, lock)
            return Answer(view(folder), [f"supervisor started in {folder.path}"])
        return Answer(view(folder), [])
    finally:
        os.close(lock)  # the supervisor has it too


def plan(folder: RunFolder, spec: Spec, *, resume: bool, accept_changes: bool = False) -> dict[str, Any]:
    """What `submit` would do, and nothing done."""
    runner, alive = settled(folder)
    if alive:
        _same_run(folder, spec)
    attempts = folder.attempts()
    environ = clean_environment(os.environ)
    attempt = attempts[-1] + 1 if attempts else 0
    added = job_environment(spec, environ, run_dir=folder.path, attempt=attempt)
    return {
        "would_start": not alive and _needs_start(folder, spec, resume, accept_changes),
        "arguments": arguments(spec),
        "environment": {key: "(hidden)" if SECRET_NAME.search(key) else value for key, value in added.items()},
        "workdir": spec.workdir,
        "files": [str(path) for path in (folder.spec, folder.runner, folder.lock, folder.log(attempt))],
        "state": runner.get("state") if runner else None,
    }


def _lock_or_running(folder: RunFolder) -> int | None:
    """The run's lock, or None when its supervisor is at work. Another submit may hold it for a moment."""
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    while True:
        lock = try_lock(folder)
        if lock is not None:
            return lock
        if settled(folder)[1]:
            return None
        if time.monotonic() > deadline:
            raise shell.SkillError(
                "timeout", f"{folder.lock} is held, and no supervisor shows itself", hint="the same call", retryable=True
            )
        time.sleep(0.05)


def _same_run(folder: RunFolder, spec: Spec, accept_changes: bool = False) -> None:
    """Raises SkillError `conflict` where the folder is another run's, or this run's with another specification."""
    stored = read(folder.spec) or {}
    if stored.get("run_id") != spec.run_id:
        raise shell.SkillError(
            "conflict", f"{folder.path} belongs to run {stored.get('run_id')}, not {spec.run_id}", hint="another --run-dir"
        )
    differing = differences(stored, spec.document())
    if accept_changes:  # in another folder of checkpoints it would begin anew
        differing = [name for name in differing if name == "checkpoints"]
    if differing:
        raise shell.SkillError(
            "conflict",
            f"run {spec.run_id} was submitted with another {', '.join(differing)}",
            hint=f"the values in {folder.spec}; another --run-dir and run id; {ACCEPTING}",
            data={"submitted": {name: stored.get(name) for name in differing if not name.startswith("env ")}},
        )


def _needs_start(folder: RunFolder, spec: Spec, resume: bool, accept_changes: bool) -> bool:
    """With the lock in hand: whether a supervisor is to be started. Raises SkillError `conflict`."""
    runner = read(folder.runner)
    if runner is None:  # nothing ever ran here, whatever an interrupted submit wrote
        return True
    _same_run(folder, spec, accept_changes)
    if runner.get("state") == "finished":
        return bool(differences(known(folder), spec.document()))
    if not resume:
        seen = view(folder)
        word = seen["state"] if seen["state"] in ENDED else f"{seen['state']}: its supervisor is gone"
        raise shell.SkillError("conflict", f"run {spec.run_id} is {word}", hint="the same call with --resume", data=seen)
    return True


def _start_supervisor(folder: RunFolder, spec: Spec, lock: int) -> None:
    """Returns once runner.json names the new supervisor, which then owns the lock."""
    # the supervisor is a process of the run too: a trainer that it starts directly looks for the id in its parent
    run = {"TRAINYARD_RUN_ID": spec.run_id, "TRAINYARD_RUNNER_ENV": json.dumps(spec.env)}
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
        identity = supervisor_of(read(folder.runner))
        return (identity is not None and identity.pid == supervisor.pid) or supervisor.poll() is not None

    if not shell.wait_until(has_taken_over, timeout_s=TAKE_OVER_TIMEOUT_S, interval_s=0.02):
        supervisor.kill()
        raise shell.SkillError("timeout", "the supervisor did not start", hint="the same call", retryable=True)
    identity = supervisor_of(read(folder.runner))
    if identity is None or identity.pid != supervisor.pid:
        tail = folder.supervisor_log.read_text(errors="replace")[-500:]
        raise shell.SkillError("internal", f"the supervisor ended at once: {tail}", hint=f"see {folder.supervisor_log}")
