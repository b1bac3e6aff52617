"""`flight`: the verdict over the dumps of all ranks, in words."""

from __future__ import annotations

from pathlib import Path

import trainyard_shell as shell
from flight_recorder.folder import dumps_in
from flight_recorder.verdict import DIFFERS, HANG, IDLE, MOVES, Verdict, guilty_ranks
from rank_stacks.grouping import ranges

HINT = "diagnose_training.py stacks RUN makes them anew while the run lives, doctor judges what there is of one that has ended; TORCH_FR_DUMP_TEMP_FILE names those of NCCL's watchdog"
MAX_RANKS_SHOWN = 64


def flight_result(text: str) -> shell.Result:
    """Exit 0: nobody waits for long. Exit 1: ranks are named, or nothing can be said."""
    folder = Path(text)
    try:
        files = dumps_in(folder)
    except OSError as error:
        raise shell.SkillError("not-found", f"{text} is not a folder that can be read: {error.strerror}", hint=HINT) from error
    if not files:
        raise shell.SkillError("not-found", f"no flight recorder dumps in {text}: flight/rank-0000.bin and so on", hint=HINT)
    verdict = guilty_ranks(list(files.values()))
    return shell.Result(
        data={"line": line_of(verdict), "files": str(next(iter(files.values())).parent), **document(verdict)},
        checks=[check_of(verdict)],
    )


def document(verdict: Verdict) -> dict[str, object]:
    """Long lists are cut; `total` has their lengths."""
    lists = {name: value for name, value in verdict.document().items() if isinstance(value, tuple | list)}
    cut = {name: list(value[:MAX_RANKS_SHOWN]) for name, value in lists.items()}
    total = {name: len(value) for name, value in lists.items() if len(value) > MAX_RANKS_SHOWN}
    return {**verdict.document(), **cut, **({"total": total} if total else {})}


def line_of(verdict: Verdict) -> str:
    if verdict.state in (HANG, DIFFERS):
        call = (
            ""
            if f"number {verdict.seq} " in verdict.reason
            else f"; {verdict.collective} number {verdict.seq} of group {verdict.group}"
        )
        who = f" (ranks {ranges(verdict.group_ranks)})" if verdict.group_ranks else ""
        waited = (
            f"; ranks {ranges(verdict.waiting)} have waited in it for {verdict.waits_s:.1f} s"
            if verdict.waiting and verdict.waits_s
            else ""
        )
        return f"{verdict.reason}{call}{who}{waited}"
    return {MOVES: "the run moves", IDLE: "nobody waits in a collective"}.get(
        verdict.state, "the dumps do not say who is missing"
    ) + f": {verdict.reason}"


def check_of(verdict: Verdict) -> shell.Check:
    status = {HANG: "fail", DIFFERS: "fail", MOVES: "pass", IDLE: "pass"}.get(verdict.state, "unknown")
    lost = [*([f"no dump of ranks {ranges(verdict.without_file)}"] if verdict.without_file else []), *verdict.unreadable[:5]]
    fix = (
        f"look at ranks {ranges(verdict.guilty)}: diagnose_training.py stacks RUN"
        if status == "fail"
        else HINT
        if status == "unknown"
        else None
    )
    return shell.Check(
        "collectives.complete", status, line_of(verdict), "; ".join(filter(None, [verdict.where, *lost])) or None, fix
    )
