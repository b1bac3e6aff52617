"""The one most probable root cause among all that was found.

What the run went on after is no cause. Of the others the deepest is told: a fault of the hardware explains a broken connection, and
never the other way round; of equals what ended its process, on the rank that failed first, earliest. Cascades never are a root.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from diagnosis.case import Case
from diagnosis.facts import Found, Rank, Source
from diagnosis.one_log import AGAIN
from diagnosis.pauses import is_paused, is_stalled, pause_s, usual_step_s
from diagnosis.restarting import restart_of
from diagnosis.rules import rule
from diagnosis.silence import conclusions, victims
from diagnosis.weighing import is_beside, of_cluster, weight
from diagnosis.whose_fault import whose


@dataclass
class Diagnosis:
    root: Found
    rank: Rank
    node: str | None
    restart: str
    others: list[Found] = field(default_factory=list)
    outcome: str = "unknown"

    @property
    def cause(self) -> str:
        return self.root.rule.cause


def diagnose(case: Case) -> Diagnosis:
    everything = [*case.found, *conclusions(case)]
    _forget_overcome(case, everything)
    roots = [each for each in everything if each.rule.role == "root" and not each.overcome and not is_beside(each)]
    if case.outcome == "finished":
        return _fine(case, everything)
    if case.outcome not in ("failed", "stopped", "pending"):
        roots = [each for each in roots if _is_now(case, each)]
    roots = _without_consequences(case, roots)
    if not roots:
        return _without_root(case, everything)
    first = {each.rank for each in case.deaths if each.first and each.rank is not None and each.rank not in victims(case)}
    root = max(roots, key=lambda each: weight(case, each, first))
    others = [each for each in everything if each is not root and not (each.overcome and each.rule.role == "root")]
    rank, node = whose(case, root, roots, others, first)
    return Diagnosis(root, rank, node, restart_of(case, root, rank), _once(others), case.outcome)


# --- what was overcome -------------------------------------------------------------------------------------------


def _forget_overcome(case: Case, everything: list[Found]) -> None:
    """Steps after it, in whichever log they stand, or a process that wrote on as if nothing had been."""
    last = case.last_step_time
    for each in everything:
        if each.overcome or each.rule.sticky or (of_cluster(each) and each.rule.role == "root" and case.outcome == "failed"):
            continue
        if last is not None and each.time is not None and last > each.time + 60 and case.outcome != "failed":
            each.overcome = True
        if each.source.attempt == -1 and _goes_on_after_restart(case, each):
            each.overcome = True


def _goes_on_after_restart(case: Case, each: Found) -> bool:
    """A container's log of before does not matter where the one of now makes steps."""
    return any(facts.source.pod == each.source.pod and facts.source.attempt == 0 and facts.steps.last for facts in case.logs)


def _is_now(case: Case, each: Found) -> bool:
    """Of a run that is not known to have ended: what stops it, or ended a process of it. A message alone is none."""
    if each.rule.sticky or each.rule.id.startswith(("runner.", "rank.", "loss.")):
        return True
    if of_cluster(each):
        return not case.made_steps or case.outcome == "pending" or each.rule.depth >= 80
    return each.uncaught or (each.rule.depth >= 50 and _is_last_word(each))


def _is_last_word(each: Found) -> bool:
    """Whether its log says little after it; after the word that it is tried again, nothing."""
    path, most = each.source.path, len(each.text.encode()) + 2 if AGAIN.search(each.text) else 2048
    try:
        return path is not None and each.offset is not None and path.stat().st_size - each.offset < most
    except OSError:
        return False


def _without_consequences(case: Case, roots: list[Found]) -> list[Found]:
    """A stop from outside explains its signals; a finding that only another one's proof makes sense of goes with it."""
    causes = {each.cause for each in roots}
    if "agreed-stop" in causes and case.outcome != "failed":
        roots = [each for each in roots if each.cause not in ("killed",)]
    handled = [each for each in roots if each.rule.id == "cuda.library"]
    return [each for each in roots if each not in handled or "gpu-oom" not in causes]


# --- no root -----------------------------------------------------------------------------------------------------


def _without_root(case: Case, everything: list[Found]) -> Diagnosis:
    shown = _once([each for each in everything if not each.overcome or each.rule.role != "root"])
    if stall := _stalled(case):
        return Diagnosis(stall, "any", None, stall.rule.restart, shown, case.outcome)
    broke_off = any(each.rule.role == "cascade" and not each.overcome and _is_last_word(each) for each in everything)
    broke_off |= any(facts.ends_in_complaint for facts in case.logs)
    if case.outcome in ("failed", "stopped", "pending") or (case.outcome == "unknown" and broke_off):
        source = case.logs[-1].source if case.logs else Source(str(case.evidence.root.name))
        last = case.logs[-1].last if case.logs else {}
        offset, text = max(last.values(), default=(None, "")) if last else (None, "")
        found = Found(rule("run.unknown"), source, text, offset=offset)
        if case.outcome == "pending":
            found = replace(found, rule=rule("run.fine"))
        return Diagnosis(found, None if case.outcome == "pending" else "any", None, found.rule.restart, shown, case.outcome)
    if case.outcome == "unknown" and not (case.logs or case.made_steps or case.evidence.pods or case.last_step_time):
        found = Found(rule("run.silent"), Source(str(case.evidence.root.name)), "")
        return Diagnosis(found, None, None, found.rule.restart, shown, case.outcome)
    return _fine(case, everything)


def _fine(case: Case, everything: list[Found]) -> Diagnosis:
    source = case.logs[-1].source if case.logs else Source(str(case.evidence.root.name))
    shown = _once([each for each in everything if each.rule.sticky])
    return Diagnosis(Found(rule("run.fine"), source, ""), None, None, "RESTART", shown, case.outcome)


def _stalled(case: Case) -> Found | None:
    """A run that is said to go on, and has made no step for much longer than its steps take."""
    past, usual, history = pause_s(case), usual_step_s(case), case.history
    if case.outcome != "running" or past is None or not is_paused(case):
        return None
    source = Source("run/steps.jsonl" if history and history.folder != case.evidence.root else "steps.jsonl")
    return Found(
        rule("run.stalled" if is_stalled(case) else "run.paused"),
        source,
        f"the last step was {past:.0f} s before the evidence was collected, its steps take {usual:.3g} s",
    )


def _once(found: list[Found]) -> list[Found]:
    """Each cause of each rank once, the deepest first."""
    kept: dict[tuple[str, Rank, str], Found] = {}
    for each in sorted(found, key=lambda each: (each.rule.role != "root", -each.rule.depth, each.offset or 0)):
        kept.setdefault((each.rule.id, each.rank, each.source.name if each.rank is None else ""), each)
    return list(kept.values())[:40]
