"""`stacks`: what every rank does now, of a run on this machine or on a cluster."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trainyard_shell as shell
from flight_recorder.dump import read_dump
from flight_recorder.folder import newest_files
from rank_stacks import look
from rank_stacks.grouping import Group, grouped, ranges, shared_group
from rank_stacks.reading import Stack, from_faulthandler, from_spy
from rank_stacks.states import ENDED, doing
from run_folder.folder import open_run_folder, read_runner
from trainyard_files import Unusable

SHOWN_FRAMES, SHOWN_GROUPS = 12, 20
YAMA = Path("/proc/sys/kernel/yama/ptrace_scope")


@dataclass
class Seen:
    """Of all machines of a run."""

    rows: dict[int, dict[str, Any]] = field(default_factory=dict)
    world: int = 0
    unread: list[shell.Check] = field(default_factory=list)
    """Machines that could not be looked at."""
    known: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Parallel groups: name -> ranks."""

    def add(self, found: dict[str, Any], where: str | None = None) -> None:
        for row in found["ranks"]:
            self.rows[int(row["rank"])] = {**row, **({"pod": where} if where else {})}
        self.world = max(self.world, int(found["world_size"]))


def stacks_here(text: str, interval_s: float, may_ask: bool) -> shell.Result:
    """Of a run folder of this machine. Raises SkillError not-found."""
    path = open_run_folder(text)
    runner, problem = read_runner(path)
    if runner is None or not runner.run_id:
        why = problem or "it has no runner.json with a run id"
        raise shell.SkillError(
            "not-found", f"{text}: its processes cannot be found: {why}", hint="is this a run of local-runner?"
        )
    seen = Seen()
    seen.add(look.look(runner.run_id, str(path), interval_s, may_ask))
    if not any(row["state"] != "gone" for row in seen.rows.values()):
        hint = f"diagnose_training.py doctor {text}: it reads the stacks of a hang that was ended ({text}/logs/*.stacks.txt)"
        raise shell.SkillError("not-found", f"no rank of {path.name} lives on this machine ({runner.state})", hint=hint)
    seen.known = known_groups(path)
    return result(seen, text, has_spy_here=True)


def known_groups(run: Path) -> dict[str, tuple[int, ...]]:
    """Parallel groups as the newest flight recorder dumps name them, which asking for stacks has just made."""
    found: dict[str, tuple[int, ...]] = {}
    for path in list(newest_files(run, "flight").values())[:512]:
        try:
            dump = read_dump(path)
        except (OSError, Unusable):
            continue
        names = {entry.group: entry.desc for entry in dump.entries}
        for name, ranks in dump.groups.items():
            desc = names.get(name, "")
            found.setdefault(f"group {name}" + (f" {desc}" if desc not in ("", "undefined") else ""), ranks)
    return found


def result(seen: Seen, words: str, *, has_spy_here: bool) -> shell.Result:
    stacks: dict[int, Stack] = {}
    for rank, row in seen.rows.items():
        found = threads(row)
        if found:
            stacks[rank] = found[-1]
    for rank in range(seen.world):
        seen.rows.setdefault(rank, {"rank": rank, "state": "gone" if has_spy_here else "unknown"})
    acts = {rank: doing(row, stacks.get(rank, ())) for rank, row in sorted(seen.rows.items())}
    groups = grouped(stacks, acts)
    odd = sorted({rank for group in groups if group.is_outlier for rank in group.ranks})
    shared = shared_group(odd, max(seen.world, len(acts)), seen.known)
    states = {word: ranges(rank for rank, act in acts.items() if act == word) for word in sorted(set(acts.values()))}
    data = {
        "line": _line(groups, shared, acts),
        "ranks": len(acts),
        "world_size": seen.world or None,
        "doing": states,
        "outliers": ranges(odd) or None,
        "shared_group": shared,
        "groups": [_document(group, seen.rows) for group in groups[:SHOWN_GROUPS]],
        "total": len(groups),
    }
    checks = [_states_check(acts), _stacks_check(seen, stacks, acts), *seen.unread]
    then = "flight" if has_spy_here else "collect"  # dumps on a volume come with the evidence
    return shell.Result(
        data=data, checks=checks, next=[f"diagnose_training.py {then} {words}"], truncated=len(groups) > SHOWN_GROUPS
    )


def threads(row: dict[str, Any]) -> list[Stack]:
    """Of one rank, the main thread last."""
    if "text" in row:
        return from_faulthandler(str(row["text"]))
    try:
        return from_spy(str(row["spy"])) if "spy" in row else []
    except ValueError as error:
        row["why"] = str(error)
        return []


def _document(group: Group, rows: dict[int, dict[str, Any]]) -> dict[str, Any]:
    first = rows[group.ranks[0]]
    return {
        "ranks": ranges(group.ranks),
        "count": len(group.ranks),
        "outlier": group.is_outlier,
        "doing": group.doing,
        "where": group.where or None,
        "stack": [str(frame) for frame in group.stack[:SHOWN_FRAMES]],
        "frames": len(group.stack),
        "pid": first.get("pid"),
        "pod": first.get("pod"),
        "share_of_a_processor": first.get("share"),
        "read_with": "signal" if "text" in first else "py-spy" if "spy" in first else None,
    }


def _line(groups: list[Group], shared: str | None, acts: dict[int, str]) -> str:
    def words(group: Group) -> str:
        who = f"rank{'s' if len(group.ranks) > 1 else ''} {ranges(group.ranks)}"
        place = group.where or (group.doing if group.doing in ("stopped", *ENDED) else "an unknown place")
        return f"{who} ({group.doing}) {'at ' if group.where else ''}{place}"

    odd, most = [group for group in groups if group.is_outlier], [group for group in groups if not group.is_outlier]
    if not odd:
        return f"{len(acts)} ranks: " + "; ".join(words(group) for group in most[:3])
    told = "; ".join(words(group) for group in odd[:4]) + (f" and {len(odd) - 4} more" if len(odd) > 4 else "")
    rest = f"; the others: {words(most[0])}" if most else ""
    return told + rest + (f"; the outliers share {shared}" if shared else "")


def _states_check(acts: dict[int, str]) -> shell.Check:
    bad = {
        word: [rank for rank, act in acts.items() if act == word]
        for word in ("stopped", "zombie", "gone", "traced", "uninterruptible")
    }
    named = [f"{word}: ranks {ranges(ranks)}" for word, ranks in bad.items() if ranks]
    if not named:
        unknown = [rank for rank, act in acts.items() if act == "unknown"]
        if unknown:
            return shell.Check("ranks.states", "unknown", f"what ranks {ranges(unknown)} do is not known")
        return shell.Check("ranks.states", "pass", f"none of {len(acts)} ranks is stopped or gone")
    fix = (
        "kill -CONT its pid lets a stopped one go on"
        if bad["stopped"]
        else "a storage that does not answer?"
        if bad["uninterruptible"]
        else None
    )
    status = "fail" if any(bad[word] for word in ("stopped", "zombie", "gone")) else "warn"
    return shell.Check("ranks.states", status, "; ".join(named), None, fix)


def _stacks_check(seen: Seen, stacks: dict[int, Stack], acts: dict[int, str]) -> shell.Check:
    silent = [rank for rank, act in acts.items() if rank not in stacks and act not in ENDED]
    if not silent:
        return shell.Check("stacks.read", "pass", f"the stacks of {len(stacks)} ranks were read")
    whys = sorted({str(seen.rows[rank].get("why") or "nothing was read") for rank in silent})
    return shell.Check(
        "stacks.read",
        "unknown",
        f"no stacks of ranks {ranges(silent)}: {shell.clean('; '.join(whys), 300)}",
        shell.clean(
            "; ".join(
                f"rank {rank}: {seen.rows[rank].get('state')} in {seen.rows[rank].get('wchan') or '?'}" for rank in silent[:8]
            ),
            500,
        ),
        way_round(" ".join(whys)),
    )


def way_round(why: str) -> str:
    if "Permission" in why or "ptrace" in why or "not permitted" in why:
        scope = ""
        with contextlib.suppress(OSError):
            scope = f" (kernel.yama.ptrace_scope is {YAMA.read_text().strip()})"
        return f"ask as root or as the job's user{scope}; or let the script call trainyard.init_distributed() or Checkpointer: its ranks then print their stacks themselves"
    return "python -m pip install py-spy; or let the script call trainyard.init_distributed() or Checkpointer: its ranks then print their stacks themselves"
