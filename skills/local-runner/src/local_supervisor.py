"""The supervisor: one process a run that starts the launcher, restarts it, and leaves nothing behind.

`run_local.py submit` starts it as `python local_supervisor.py RUN_DIR LOCK_FD`, detached. It holds runner.lock while
it lives, so there is never a second one. Standard library only, one thread: prctl's parent-death signal belongs to the
thread that made the child.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import local_budget
import local_system as system
from death_cause import explain
from death_patience import Death, cannot_pass
from local_command import arguments, clean_environment, job_environment, processes, understand
from local_evidence import Evidence
from local_folder import EventReader, RunFolder, read_spec
from local_hang import Hangs
from local_process import end_all, of_run
from trainyard_process import Identity, identify
from local_ranks import Ranks
from local_record import RunRecord, note
from local_rotation import LogKeeper, limit_bytes
from local_spec import Spec

TICK_S = 1.0
START_TICK_S, START_S = 0.1, 300.0
"""In an attempt's first START_S, while ranks are still to be found: one that fails at once should have been seen."""
SWEEP_GRACE_S = 5.0
"""What is left of a job whose launcher died has this long to end by itself."""
LONGEST_BACKOFF_S = 60.0
GOOD_ATTEMPT_S = 60.0
"""An attempt that lived this long made progress: the next restart comes at once."""


@dataclass
class StopRequest:
    by: str
    now: bool = False
    """Without grace."""
    wanted: bool = True
    """False: the supervisor itself was told to go, so the run was not stopped by its user."""


@dataclass(frozen=True)
class Ended:
    """How an attempt ended."""

    exit_code: int | None
    reason: str
    final: bool = False
    """It cannot be repeated."""
    hopeless: str | None = None
    """Why repeating it would not help."""


class Supervisor:
    """State machine of one run; what it knows is in runner.json after every step."""

    def __init__(self, folder: RunFolder, spec: Spec, environ: dict[str, str]) -> None:
        self.folder, self.spec, self.environ = folder, spec, environ
        self.record = RunRecord.begin(folder, spec, _identity(os.getpid()))
        self.stop: StopRequest | None = None
        self.launcher: subprocess.Popen[bytes] | None = None
        self.asked_to_end = False
        """The launcher was sent SIGTERM, so an exit code of 0 no longer says that the work is finished."""
        self.hangs = Hangs(folder, spec, self.record, environ)
        self.events = EventReader(folder.events)
        self.logs = LogKeeper(folder, limit_bytes({**environ, **spec.env}))
        self.death: Death | None = None
        """How the newest attempt that nobody stopped ended."""
        self.backoff_s = 0.0
        """Delay before the next restart."""
        self.ends_at = local_budget.deadline(spec, self.record.document)

    # --- the run ---

    def run(self) -> None:
        if not self.record.save():
            sys.exit(os.EX_IOERR)  # `submit` waits for this file, and takes away what it made
        # a supervisor that was killed may have left processes: they end before anything new starts
        if self._sweep(self.spec.stop_grace_s):
            return self.record.end("failed", "processes of an earlier start of this run cannot be ended", None)
        self._listen(0)
        ended = Ended(None, "stopped before it was started")
        while not self.stop:
            ended = self._attempt()
            if ended.exit_code == 0 and not self.asked_to_end:
                return self.record.end("finished", "the command exited with 0", 0)
            if not self.stop:
                if refusal := self._no_restart(ended):
                    return self.record.end("failed", refusal, ended.exit_code)
                self._back_off(self._delay_s(), ended.reason)
        if self.stop.wanted:
            return self.record.end("stopped", f"stopped by {self.stop.by}", ended.exit_code)
        return self.record.end("failed", f"the supervisor was told to end: {self.stop.by}", ended.exit_code)

    def _no_restart(self, ended: Ended) -> str | None:
        """Why there is no further attempt; None when there is one."""
        if ended.final:
            return ended.reason
        if ended.hopeless:
            return f"{ended.reason}; {ended.hopeless}"
        if self.record["restarts"] >= self.spec.max_restarts:
            return f"{ended.reason}; max_restarts ({self.spec.max_restarts}) is used up"
        return None

    def _delay_s(self) -> float:
        """At once after an attempt that got somewhere; longer and longer where each one fails soon, as a wrong option makes it."""
        if self.death and (self.death.has_stepped or self.death.lived_s >= GOOD_ATTEMPT_S):
            self.backoff_s = 0.0
        delay_s = self.backoff_s
        self.backoff_s = min(2 * delay_s or self.spec.backoff_s, LONGEST_BACKOFF_S)
        return delay_s

    def _back_off(self, delay_s: float, reason: str) -> None:
        attempt, restarts = self.record["attempt"] + 1, self.record["restarts"] + 1
        self.record.save(state="backing-off", reason=reason, last_failure=reason, restarts=restarts, launcher=None)
        self.record.event("restart-scheduled", attempt=attempt, delay_s=delay_s, restarts=restarts)
        deadline = time.monotonic() + delay_s
        while not self.stop and (left_s := deadline - time.monotonic()) > 0:
            self._listen(min(TICK_S, left_s))
        if not self.stop:
            self.record.document["attempt"] = attempt

    # --- one attempt ---

    def _attempt(self) -> Ended:
        attempt = self.record["attempt"]
        self.events.skip()
        self.logs.shorten()
        try:
            self.launcher = self._start(attempt)
        except OSError as error:
            return Ended(None, f"the command could not be started: {error}", final=True)
        log = str(self.folder.log(attempt).relative_to(self.folder.path))
        self.record.save(state="running", reason=None, launcher=asdict(_identity(self.launcher.pid)), log=log)
        self.record.event("attempt", attempt=attempt, pid=self.launcher.pid)
        command = understand(self.spec.command)
        with Ranks(self.launcher.pid, processes(self.spec, self.environ) if command.launcher else 0) as ranks:
            evidence = Evidence.begin(self.folder, attempt, ranks, self.events)
            self.hangs.begin(self.launcher.pid)
            grace_s = self._watch(self.launcher, evidence)
            self.hangs.end()
            left = self._sweep(grace_s)
            evidence.look()
        ended = self._ended(self.launcher.returncode, evidence)
        self.record.event("attempt-ended", attempt=attempt, exit_code=ended.exit_code, reason=ended.reason)
        if left:
            pids = [process.pid for process in left]
            return Ended(ended.exit_code, f"{ended.reason}; not even SIGKILL ends the processes {pids}", final=True)
        return ended

    def _ended(self, exit_code: int | None, evidence: Evidence) -> Ended:
        if self.hangs.reason:  # 0 would be its answer to our SIGTERM, not the end of the work
            self.death = None
            return Ended(exit_code or None, self.hangs.reason)
        if exit_code is None:
            return Ended(None, "it does not end")
        if self.stop and exit_code not in (0, 143):  # torchrun answers a stop with a traceback and 1
            return Ended(exit_code, f"ended by the stop: {explain(exit_code).partition(' (')[0]}")
        if self.stop or exit_code == 0:
            return Ended(exit_code, explain(exit_code))
        before = self.death
        self.death = evidence.death(exit_code).after(before)
        return Ended(exit_code, self.death.reason, hopeless=cannot_pass(before, self.death))

    def _start(self, attempt: int) -> subprocess.Popen[bytes]:
        added = job_environment(self.spec, self.environ, run_dir=self.folder.path, attempt=attempt)
        env, log = {**self.environ, **added}, self.folder.log(attempt)
        return system.start(arguments(self.spec, self.environ), env=env, cwd=self.spec.workdir, log=log)

    def _watch(self, launcher: subprocess.Popen[bytes], evidence: Evidence) -> float:
        """Until the launcher has ended or a stop's grace is over; seconds that the others have left to end."""
        deadline: float | None = None
        restarts_before, ranks = self.record["restarts"], evidence.ranks
        while True:
            evidence.look()
            system.reap(launcher)
            if restarts_before + evidence.inner_restarts > self.record["restarts"]:
                self.record.save(restarts=restarts_before + evidence.inner_restarts)
            if self.logs.look(self.record["attempt"]):
                self.record.event("disk-full", folder=str(self.folder.path))
            if launcher.returncode is not None:
                return SWEEP_GRACE_S if deadline is None else max(0.0, deadline - time.monotonic())
            if self.stop and deadline is None:
                self.asked_to_end = True
                launcher.send_signal(signal.SIGTERM)
                deadline = time.monotonic() + self.spec.stop_grace_s
                self.record.save(state="stopping", stop_requested=self.stop.by)
            if self.stop and deadline and (self.stop.now or time.monotonic() >= deadline):
                return 0
            if not self.stop and ranks.end_survivors():
                note("a rank failed, and the others did not end: SIGKILL")
            if deadline is None and self.hangs.found():
                return SWEEP_GRACE_S
            starting = not ranks.complete and evidence.lived_s < START_S
            tick_s = START_TICK_S if starting else TICK_S
            self._listen(tick_s if deadline is None else min(tick_s, deadline - time.monotonic()), ranks.handles())

    def _sweep(self, grace_s: float) -> list[Identity]:
        """End every process of this run; returns those that not even SIGKILL ended."""
        me = os.getpid()
        left = end_all(
            lambda: of_run(self.spec.run_id, self.folder.path, family_of=me),
            grace_s=grace_s,
            idle=lambda: system.reap(self.launcher),
        )
        system.reap(self.launcher)
        return left

    # --- what others tell us ---

    def _listen(self, timeout_s: float, handles: list[int] | None = None) -> None:
        """Wait for a signal, or for one of `handles`, and note what it asks for."""
        message = system.next_message(timeout_s, handles or ())
        if message is not None and message.si_signo in (system.STOP, system.STOP_NOW):
            self._request(StopRequest(system.user_name(message.si_uid), now=message.si_signo == system.STOP_NOW))
        elif message is not None and message.si_signo in (signal.SIGTERM, signal.SIGINT):
            name = signal.Signals(message.si_signo).name
            self._request(StopRequest(f"{name} from pid {message.si_pid}", wanted=False))
        elif not self.folder.path.is_dir():
            self._request(StopRequest("the run folder is gone", wanted=False))
        elif time.monotonic() >= self.ends_at and self.stop is None:
            self._request(StopRequest(local_budget.name(self.spec)))

    def _request(self, request: StopRequest) -> None:
        if self.stop is None:
            self.record.event("stop-requested", by=request.by)
            self.stop = request
        self.stop.now |= request.now
        self.stop.wanted |= request.wanted


def _identity(pid: int) -> Identity:
    return identify(pid) or Identity("", pid, 0)  # a child that has already ended is nobody


def main() -> int:
    folder, lock = RunFolder(Path(sys.argv[1])), int(sys.argv[2])
    system.become_supervisor()
    os.set_inheritable(lock, False)
    if not os.path.samestat(os.fstat(lock), folder.lock.stat()):
        note("the descriptor handed over is not runner.lock")
        return 1
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    document = read_spec(folder)
    assert document is not None, "submit writes the specification first"
    spec = Spec.from_document(document, json.loads(os.environ.pop("TRAINYARD_RUNNER_ENV")))
    Supervisor(folder, spec, clean_environment(os.environ)).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
