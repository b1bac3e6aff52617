"""The state of a run: what runner.json says, held against the processes that live.

The supervisor writes starting, running, backing-off, stopping, finished, failed, stopped. Added here, since nobody can write them:
`lost` (not ended, no process of the run lives), `orphaned` (not ended, the supervisor is gone, processes of the run live) and
`unknown` (nothing here can tell).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from run_folder.folder import original_of
from run_view import processes
from trainyard_process import boot_id

if TYPE_CHECKING:
    from pathlib import Path

    from run_folder.records import EventLine, Runner

ENDED = ("finished", "failed", "stopped")
ALIVE = ("starting", "running", "backing-off", "stopping", "orphaned")


@dataclass(frozen=True)
class RunState:
    name: str
    source: str
    """Where the answer comes from: runner.json, processes, events.jsonl, steps.jsonl, the job's log, nothing."""
    evidence: str
    launcher_alive: bool | None = None
    pids: tuple[int, ...] = ()
    """Living processes of a run whose supervisor is gone."""
    copy_of: Path | None = None
    """The run's own folder, where this one is a copy in which nothing lives."""

    @property
    def told(self) -> str:
        return "the run failed" if self.name == "failed" else f"the run is {self.name}"

    @property
    def ended(self) -> bool:
        return self.name in (*ENDED, "lost")

    @property
    def alive(self) -> bool:
        return self.name in ALIVE


def from_runner(runner: Runner, path: Path, last_write: float | None) -> RunState:
    """`last_write`: the newest modification time of the run's records, to tell a restarted machine from another one."""
    if runner.state in ENDED:
        return RunState(runner.state, "runner.json", runner.reason or f"exit code {runner.exit_code}")
    if runner.state not in ALIVE[:4]:
        return RunState("unknown", "runner.json", f"runner.json has a state that this version does not know: {runner.state}")
    identity = runner.supervisor
    here = boot_id()
    if identity is None or not here:
        return RunState("unknown", "runner.json", "runner.json names no supervisor process" if here else "no /proc here")
    if processes.lives(identity, path):
        launcher = processes.lives(runner.launcher) if runner.launcher else None
        return RunState(runner.state, "processes", f"supervisor {identity.pid} lives", launcher)
    told = _other_boot(last_write) if identity.boot_id != here else _supervisor_gone(runner, path)
    original = original_of(path, runner.run_id) if told.name == "lost" else None
    if original is None:
        return told
    return RunState("lost", "runner-spec.json", f"this folder is a copy; the run is in {original}", copy_of=original)


def _other_boot(last_write: float | None) -> RunState:
    booted = processes.booted_at()
    if booted is None or last_write is None or last_write > booted:
        return RunState("unknown", "processes", "the run's machine has another boot id: look at it from there")
    return RunState("lost", "processes", "this machine was restarted after the run's last sign of life")


def _supervisor_gone(runner: Runner, path: Path) -> RunState:
    pids = tuple(processes.pids_of_run(runner.run_id, path)) if runner.run_id else ()
    if pids:
        return RunState("orphaned", "processes", f"the supervisor is gone, {len(pids)} processes live", pids=pids)
    if os.geteuid() not in (0, path.stat().st_uid):
        return RunState("unknown", "processes", "the supervisor is gone; another user's processes cannot be searched")
    return RunState("lost", "processes", f"runner.json says {runner.state}, and no process of the run lives")


def from_records(
    events: list[EventLine], last_step_age_s: float | None, stall_limit_s: float, source: str = "steps.jsonl"
) -> RunState:
    """The state of a run without a supervisor, as far as its own records show it."""
    last = next((event for event in reversed(events) if event.type in ("run-ended", "closed", "start")), None)
    if last is not None and last.type == "run-ended" and last.state in ENDED:
        return RunState(str(last.state), "events.jsonl", "run-ended")
    if last is not None and last.type == "closed":
        return RunState("finished" if last.finished else "stopped", "events.jsonl", f"closed at step {last.step}")
    if last_step_age_s is not None and 0 <= last_step_age_s <= stall_limit_s:
        return RunState("running", source, f"no runner.json; a step line {last_step_age_s:.1f} s ago")
    return RunState("unknown", "nothing", "no runner.json, and the records do not say")
