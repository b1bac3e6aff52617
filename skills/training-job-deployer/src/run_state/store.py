"""run.json and its lock: what was begun, what is done, under which run id. Written before anything else is made."""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from run_state import format1
import deploy_stages
import trainyard_shell as shell
from trainyard_files import Unusable, check_nesting, read_regular

FORMAT = 2
"""2: the request of a job on a cluster is a document."""


class StageRecord(Struct, kw_only=True):
    """One stage of the run. `begun` without `ended`: the call was made, its answer was never read."""

    digest: str
    program: str
    begun: float
    ended: float | None = None
    request: list[str] = []
    """The arguments of the call, so that a repeated call is the same call."""
    document: dict[str, Any] | None = None
    """What the call reads on stdin: a request (trainyard_job.Request)."""
    result: dict[str, Any] = {}


class Run(Struct, kw_only=True):
    """The content of run.json."""

    format: int = FORMAT
    run_id: str
    name: str
    target: str
    job_file: str
    run_dir: str = ""
    """Where run.json was first written: a folder with the same run id elsewhere was moved, or is a copy."""
    created: float
    job: dict[str, Any] = {}
    """The job file as read, without secret values (it never has any)."""
    inputs: dict[str, str] = {}
    """Digest of each input of the submission: the job file's keys, and `source`."""
    cluster: dict[str, Any] = {}
    """context, server, cluster_id and namespace, once a cluster answered: later verbs go there and nowhere else."""
    stages: dict[str, StageRecord] = field(default_factory=dict)
    starts: int = 0
    """How often the job was submitted: the launcher in a pod tells a user's resume from a pod made anew by it."""
    stopped: StageRecord | None = None
    """The last `stop` on a cluster, until a resume: what is gone there was ended by its user."""

    @property
    def stop_grace_s(self) -> float:
        """monitor.stop_grace_s of the job file as submitted."""
        return float(self._monitor("stop_grace_s", 60.0))

    @property
    def stall_factor(self) -> float:
        """monitor.stall_factor of the job file as submitted."""
        return float(self._monitor("stall_factor", 10.0))

    def _monitor(self, key: str, default: float) -> Any:
        monitor = self.job.get("monitor")
        value = monitor.get(key) if isinstance(monitor, dict) else None
        return value if isinstance(value, int | float) else default

    @property
    def submission(self) -> StageRecord | None:
        """The record of the stage that starts the job; None: it was never called."""
        return self.stages.get(deploy_stages.submission(self.target))

    def done(self, stage: str, digest: str) -> bool:
        record = self.stages.get(stage)
        return record is not None and record.ended is not None and record.digest == digest


def new(name: str, target: str, job_file: Path) -> Run:
    return Run(run_id=secrets.token_hex(8), name=name, target=target, job_file=str(job_file), created=time.time())


def load(run_dir: Path) -> Run | None:
    """The run in this folder, None when there is none. Raises SkillError conflict when run.json is not ours."""
    path = run_dir / "run.json"
    try:
        raw = read_regular(path)
        check_nesting(raw)
        run = msgspec.json.decode(raw, type=Run)
    except FileNotFoundError:
        return None
    except NotADirectoryError as error:
        raise shell.SkillError("conflict", f"{run_dir} is a file, not a run folder", hint="move it away") from error
    except PermissionError as error:
        raise shell.SkillError("permission", f"{path} may not be read", hint="use the account that submitted it") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, Unusable, OSError) as error:
        hint = f"move {run_dir} away; it is kept as it is"
        raise shell.SkillError("conflict", f"{path} is not readable as a run: {error}", hint=hint) from error
    if run.format == 1:
        format1.upgrade(run)
    if run.format != FORMAT:
        raise shell.SkillError("conflict", f"{path} has format {run.format}; this program knows {FORMAT}")
    return run


def save(run_dir: Path, run: Run) -> None:
    """Replaces run.json: after a kill at any point it holds the old text or the new one."""
    run.run_dir = run.run_dir or str(run_dir)
    fresh = run_dir / "run.json.tmp"  # one name: whoever writes holds the lock
    made = [each for each in (run_dir, *run_dir.parents) if not os.path.lexists(each)]
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        with fresh.open("wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(run), indent=1) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(run_dir / "run.json")
        _sync_folder(run_dir)
        _sync_folder(run_dir.parent)
    except OSError as error:
        with suppress(OSError):
            fresh.unlink()
        _remove_empty(made)
        raise shell.cannot_write(run_dir, error, "--state-dir puts the run elsewhere") from error


def set_aside(run_dir: Path, aside: Path) -> None:
    """Renames the run folder; nothing is deleted."""
    try:
        run_dir.rename(aside)
        _sync_folder(run_dir.parent)
    except OSError as error:
        raise shell.cannot_write(aside, error, "the old run is where it was") from error


@contextmanager
def locked(run_dir: Path, *, timeout_s: float = 20.0) -> Iterator[None]:
    """Held while a run is submitted or its run.json changes. It lies outside the run folder, which may be set aside."""
    held: list[int] = []
    path = run_dir.parent / f".{run_dir.name}.lock"
    made = [each for each in (path, *path.parents) if not os.path.lexists(each)]
    try:
        run_dir.parent.mkdir(parents=True, exist_ok=True)
        if not shell.wait_until(lambda: _try_lock(path, held), timeout_s=timeout_s, interval_s=0.1):
            message = f"another deploy.py is at work on {run_dir.name}"
            raise shell.SkillError("timeout", message, hint="the same call again in a moment", retryable=True)
        yield
    except BaseException as error:
        if not os.path.lexists(run_dir):  # nothing came of it: what was made for it goes again
            _remove_empty([each for each in made if held or each != path])
        if isinstance(error, OSError) and not held:
            raise shell.cannot_write(run_dir.parent, error, "--state-dir puts the run elsewhere") from error
        raise
    finally:
        for handle in held:
            os.close(handle)  # ends the lock


def _try_lock(path: Path, held: list[int]) -> bool:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(handle), path.stat()):  # else whoever held it took the file away
            held.append(handle)
            return True
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(handle)
    return False


def _remove_empty(made: list[Path]) -> None:
    """Files are those that this call made, and hold nothing; folders go when nobody has put anything into them."""
    with suppress(OSError):
        for each in made:
            each.rmdir() if each.is_dir() else each.unlink()


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
