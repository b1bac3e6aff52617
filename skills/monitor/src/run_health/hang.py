"""Is a rank stopped, does the run hang? What the processes show now, and what the runner has recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from run_view import processes
from run_view.hangs import hang_data, paused
from trainyard_files import Unusable, read_object
from trainyard_shell import Check

if TYPE_CHECKING:
    from run_view.observe import Observation

SEEN_HERE = ("starting", "running", "stopping", "orphaned")
STOPPED_S = 120.0
"""HARD_S of local-runner's hang_rule: a stopped rank is a hang after this long, or after a shorter hang_after_s."""


def stopped_check(view: Observation) -> Check:
    """A stopped rank is the first thing to know: all others wait for it, and everything else looks like a stall.

    It warns only where the whole run is paused.
    """
    name = "ranks.stopped"
    if view.state.ended:
        return Check(name, "skipped", view.state.told)
    if view.state.source != "processes" or view.state.name not in SEEN_HERE or view.runner is None:
        if (why := paused(view)) is not None:
            return Check(name, "warn", "the run is paused", why, "who paused it lets it go on")
        return Check(name, "skipped", "its processes cannot be seen from here")
    ranks = processes.ranks_of_run(view.runner.run_id, view.path, view.runner.launcher.pid if view.runner.launcher else None)
    stopped = [(rank, pid) for rank, pid, state in ranks if state in "Tt"]
    if not stopped:
        return Check(name, "pass", f"none of {len(ranks)} ranks is stopped" if ranks else "no process is stopped")
    who = ", ".join(f"rank {rank} (pid {pid})" if rank is not None else f"pid {pid}" for rank, pid in stopped[:8])
    go_on = f"kill -CONT {' '.join(str(pid) for _, pid in stopped[:8])}"
    if len(stopped) == len(ranks):
        return Check(name, "warn", f"paused by somebody: {who}", "every rank is stopped; nothing is done about it", go_on)
    return Check(name, "fail", f"stopped: {who}", "the other ranks wait for it", f"{go_on}; {_else(view)}")


def _else(view: Observation) -> str:
    """What the runner does about a stopped rank, as it was told to."""
    try:
        spec = read_object(view.path / "runner-spec.json", {"hang_after_s": "a number"}) or {}
    except (OSError, Unusable):
        spec = {}
    if spec.get("hang") == "report":
        return "else nothing is done about it: monitor.hang is report"
    after_s = min(STOPPED_S, spec.get("hang_after_s") or STOPPED_S)
    return f"else the attempt is ended once it has been stopped for {after_s:g} s"


def hang_check(view: Observation) -> Check:
    name, known = "run.hangs", hang_data(view)
    last = known["last_hang"]
    if last is None:
        status = "pass" if view.runner is not None else "skipped"
        return Check(name, status, "no hang was found" if view.runner else "no runner watches for hangs")
    since = view.last_event("hang", "goes-on", "attempt", "run-ended")
    stands = since is not None and since.type == "hang" and last["action"] == "report"
    times = f"{known['hangs']} hangs, the last in" if known["hangs"] > 1 else "in"
    text = f"{times} attempt {last['attempt']}: {last['reason']}"
    ago = f"{max(0.0, view.now - since.time):.0f} s" if stands and since else None
    evidence = f"found {ago} ago, and only reported" if ago else f"the attempt was ended; stacks: {last['stacks'] or 'none'}"
    read = f"read {last['stacks']}" if last["stacks"] else f"read the log of attempt {last['attempt']}"
    fix = (
        "stop and resume the run, or monitor.hang: restart"
        if stands
        else f"{read}; a longer monitor.hang_after_s if it was healthy"
    )
    return Check(name, "fail" if stands else "warn", text, evidence, fix)
