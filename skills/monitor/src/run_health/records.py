"""The records of the run themselves: can they be read, are their times in order, is there room for more."""

from __future__ import annotations

import contextlib
import itertools
import shutil
from typing import TYPE_CHECKING

from run_view.observe import CLOCK_SLACK_S
from run_view.status import duration
from trainyard_shell import Check, clean

if TYPE_CHECKING:
    from run_view.observe import Observation

LITTLE_DISK_BYTES, NO_DISK_BYTES = 1 << 30, 64 << 20


def files_check(view: Observation) -> Check:
    bad = [tally for tally in view.tallies if tally.unreadable]
    if view.runner_problem:
        return Check(
            "files.readable", "fail", "runner.json cannot be used", clean(view.runner_problem, 300), "see who writes it"
        )
    if view.log is not None and not bad:
        return Check("files.readable", "pass", f"{view.log.lines} lines of {view.log.file.name} read", view.log.format)
    if not bad:
        return Check("files.readable", "pass", f"{sum(tally.lines for tally in view.tallies)} lines read")
    hopeless = any(tally.unreadable == tally.lines for tally in bad)
    evidence = clean("; ".join(f"{tally.name}: {tally.first_unreadable}" for tally in bad), 300)
    text = "; ".join(note for tally in bad if (note := tally.note()))
    return Check("files.readable", "fail" if hopeless else "warn", text, evidence, "see what else writes into the run folder")


def clock_check(view: Observation) -> Check:
    if view.log is not None and not view.log.has_times:
        return Check("clock.order", "skipped", "the log has no times")
    times = [line.time for line in view.steps]
    jumps = sum(b < a - CLOCK_SLACK_S for a, b in itertools.pairwise(times))
    ahead_s = max([*times[-1:], *(event.time for event in view.events[-1:])], default=view.now) - view.now
    if ahead_s > CLOCK_SLACK_S:
        fix = "compare the clocks of the two machines; ages are taken from the file times"
        return Check("clock.order", "warn", f"the last record lies {duration(ahead_s)} in the future", None, fix)
    if jumps:
        return Check(
            "clock.order", "warn", f"the clock went backwards {jumps} times", None, "times around there are not to be trusted"
        )
    return Check("clock.order", "pass", "times are in order")


def disk_check(view: Observation) -> Check:
    """A full disk ends a job at its next printed line, and costs every save."""
    if view.state.ended:
        return Check("disk.space", "skipped", view.state.told)
    found = []
    for folder in (view.path, view.path / "checkpoints"):
        with contextlib.suppress(OSError):
            usage = shutil.disk_usage(folder)
            found.append((usage.free, folder, min(NO_DISK_BYTES, usage.total // 20)))
    if not found:
        return Check("disk.space", "unknown", f"how much room there is in {view.path} cannot be told")
    free, folder, least = min(found)
    text = (
        f"{free / 2**30:.1f} GiB free for {folder}" if free > least else f"the disk of {folder} is full: {free >> 20} MiB free"
    )
    status = "pass" if free > LITTLE_DISK_BYTES else "warn" if free > least else "fail"
    fix = "free space there; until then log lines and saves are lost"
    return Check("disk.space", status, text, None, None if status == "pass" else fix)
