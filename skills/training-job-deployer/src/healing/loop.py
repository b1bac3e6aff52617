"""`watch`, and `watch --restart`: looks until the run ends; after a failure asks the doctor and starts the run again, or says why not.

What was restarted is in run.json, so the same call goes on after a kill, and of two watchers one starts the run.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from msgspec.structs import replace

import deploy_agree
import deploy_plan
import deploy_run
import deploy_watch
import trainyard_shell as shell
from deploy_place import ABSENT, LOOK_INTERVAL_S, UNFINISHED, Place
from deploy_siblings import options
from deployment import Deployment, Ref
from healing.elsewhere import leave_node
from healing.hanging import Hanging
from healing.older import how_to_go_back, in_words
from healing.patience import AWAY, PASSING, T, as_it_is, patiently, wait_unless_touched
from healing.policy import Limits, Refusal, backoff_s, kind_of, refusal, takes_newest_first
from healing.told import Told, ask_doctor, with_ledger
from healing.why import next_calls, the_run
from run_state.record import Restarted, Run

ASKED_FOR_S = 600.0
"""A doctor that has not answered by then is taken to know nothing: a run must not stand still for that."""


@dataclass(frozen=True)
class Wish:
    """What the caller asked for."""

    restart: bool
    limits: Limits
    yes: bool
    deadline: float
    """Monotonic."""
    words: list[str]
    """The options of the same call again."""


def wish(timeout_s: float, restart: bool = False, max_restarts: int = 0, backoff_s: float = 0.0, yes: bool = False) -> Wish:
    """Raises SkillError usage for --yes without --restart."""
    if yes and not restart:
        raise shell.SkillError("usage", "--yes is for --restart", hint="watch --restart --yes")
    own = options(restart=restart, max_restarts=max_restarts, backoff_s=f"{backoff_s:g}", yes=yes) if restart else []
    return Wish(restart, Limits(max_restarts, backoff_s), yes, time.monotonic() + timeout_s, own)


@dataclass
class Seen:
    """What this call has done and found."""

    changed: list[str] = field(default_factory=list)
    checks: list[shell.Check] = field(default_factory=list)


def watch(ref: Ref, wish: Wish) -> shell.Result:
    """Exit 0 only when the job finished. Raises SkillError timeout after the deadline; the same call goes on."""
    seen = Seen()
    run, _, status = the_run(ref)
    deploy_agree.refuse_changed(deploy_plan.load(ref), run, status["state"], source_may_change=True)
    try:
        while True:
            deployment = deploy_plan.load(ref)
            run, place, status = _kept_at(lambda: the_run(ref), wish)
            hanging = Hanging(place, run)
            result = _kept_at(partial(_to_its_end, deployment, run, status["state"], wish, hanging), wish)
            if (now := as_it_is(ref, run)) is None and wish.restart:
                continue  # somebody else has started it again
            run = now or run
            if not wish.restart or not (hanging.told or _has_failed(result, run)):
                return _answer(result, run, seen)
            if run.stop_asked:
                return _answer(_left_alone(ref, result), run, seen)
            if result.data["state"] == ABSENT:
                _begin_again(ref, run, wish)
                continue
            refused = _heal(deployment, run, place, result, wish, seen, hanging.told)
            if refused is not None:
                return _answer(refused, run, seen)
    except shell.SkillError as error:
        error.hint = _hint(ref, wish) if error.code == "timeout" else error.hint
        raise


def _kept_at(ask: Callable[[], T], wish: Wish) -> T:
    """Who restarts a run outlives its cluster's API server; who only looks hears of it."""
    return patiently(ask, wish.deadline, AWAY) if wish.restart else ask()


def _to_its_end(deployment: Deployment, run: Run, state: str, wish: Wish, hanging: Hanging) -> shell.Result:
    if state == ABSENT:  # a restart was begun, and its caller killed before it made anything
        return shell.Result(data={"state": ABSENT}, ok=False)
    return deploy_watch.to_the_end(
        deployment, run, already=state, deadline=wish.deadline, hung=hanging if wish.restart else None
    )


def _has_failed(result: shell.Result, run: Run) -> bool:
    """Never true for a run that finished, was stopped by its user, or whose object somebody removed."""
    state = result.data.get("state")
    return state in ("failed", ABSENT, *UNFINISHED) or (state in ("stopped", "gone") and run.ended_as_hung)


def _left_alone(ref: Ref, ended: shell.Result) -> shell.Result:
    told = "its user asked to stop it, so it is not started again"
    ended.checks.append(shell.Check("restart", "skipped", told, fix=ref.command("resume")))
    return ended


def _begin_again(ref: Ref, run: Run, wish: Wish) -> None:
    """A restart was decided on and begun; whoever began it was killed before it made anything."""
    failed = replace(run.restarts[-1], start=run.starts)
    fresh = deploy_plan.load(ref)
    patiently(lambda: deploy_run.restart(fresh, failed), wish.deadline)


def _heal(
    deployment: Deployment, run: Run, place: Place, ended: shell.Result, wish: Wish, seen: Seen, hang: Told | None
) -> shell.Result | None:
    """The answer that ends the watch; None once the run was started again, by whomever. `hang`: what the doctor says of one."""
    found = _asked(place, run, str(ended.data["state"]), wish.deadline, hang)
    step = _highest(found.last_step, ended.data.get("step"))
    earlier = _others(run.restarts, found.attempt)
    newest_first = takes_newest_first(found, earlier, step)
    no = refusal(found, ended.data.get("reason"), earlier, step, wish.limits)
    no = no or (None if newest_first else _not_here(deployment.ref, found, place, run))
    no = no or (_unasked(deployment.ref, wish) if hang and not wish.yes else None)
    if no is not None:
        return _refused(deployment.ref, run, place, ended, found, no)
    wait_s = backoff_s(earlier, step, wish.limits)
    if hang and not _end(deployment, run, place, ended.data.get("step")):
        return None
    shell.progress(f"{run.name} {ended.data['state']}: {found.sentence()}; started again in {wait_s:.0f} s")
    if not wait_unless_touched(deployment.ref, run, wait_s, wish.deadline):
        return None
    avoid = None
    if kind_of(found) == "RESTART_ELSEWHERE":
        checks, avoid = leave_node(place, run, found, yes=wish.yes, deadline=wish.deadline)
        seen.checks += checks
    failed = Restarted(
        start=run.starts,
        time=time.time(),
        cause=str(found.root.get("cause")),
        kind="RESTART" if newest_first else kind_of(found),
        step=step,
        attempt=found.attempt,
        avoid=avoid,
    )
    fresh = deploy_plan.load(deployment.ref)  # its source as it is now, not as it was when this call began
    prepared = patiently(lambda: deploy_run.restart(fresh, failed), wish.deadline)
    if prepared.started:
        seen.changed.append(f"started {run.name} (run {run.run_id}) again after {failed.cause}")
    return None


def _end(deployment: Deployment, run: Run, place: Place, step: Any) -> bool:
    """Ends what hangs; False where it goes on after all: the doctor took a while."""
    if place.progress(run).get("step") != step:
        shell.progress(f"{run.name} goes on by itself")
        return False
    return deploy_run.end_hung(deployment, run.starts)


def _asked(place: Place, run: Run, state: str, deadline: float, known: Told | None) -> Told:
    """Doctor (unless its answer is known) and ledger; what they cannot say is unknown."""
    told, patience = known or Told({}), min(deadline, time.monotonic() + ASKED_FOR_S)
    try:
        told = known or patiently(lambda: ask_doctor(place, run, state), patience)
        return patiently(lambda: with_ledger(place, run, told), patience)
    except shell.SkillError as error:
        if time.monotonic() + LOOK_INTERVAL_S > deadline and error.code in PASSING:
            raise
        silent = shell.Check("why", "warn", f"the doctor did not answer: {error}", fix=error.hint or None)
        return Told(told.data, checks=[*told.checks, silent])


def _others(restarts: list[Restarted], attempt: int | None) -> list[Restarted]:
    """Without one for this very attempt: its caller was killed before the job was started."""
    if restarts and attempt is not None and restarts[-1].attempt == attempt:
        return restarts[:-1]
    return restarts


def _highest(*steps: Any) -> int | None:
    return max((step for step in steps if isinstance(step, int)), default=None)


def _not_here(ref: Ref, found: Told, place: Place, run: Run) -> Refusal | None:
    """What a restart in the same place, from the newest checkpoint, would not repair."""
    kind, do = kind_of(found), str(found.root.get("do") or "")
    if kind == "RESTART_OLDER":
        reason = f"the newest checkpoint is not the one to go on from: {found.sentence()}"
        return Refusal(reason, in_words(how_to_go_back(ref, place, run)))
    if kind == "RESTART_ELSEWHERE" and not place.has_other_nodes:
        return Refusal(f"this machine has a fault: {found.sentence()}", do or "run it on another machine")
    return None


def _unasked(ref: Ref, wish: Wish) -> Refusal:
    fix = f"{ref.command('watch', *wish.words, '--yes')}, or stop and resume it"
    return Refusal("a run that is still active is only ended with --yes", fix, "RESTART")


def _refused(ref: Ref, run: Run, place: Place, ended: shell.Result, found: Told, no: Refusal) -> shell.Result:
    ended.ok = False
    ended.checks += [shell.Check("restart", "fail", shell.clean(no.reason, 600), fix=shell.clean(no.fix, 600)), *found.checks]
    ended.data["why"] = {**found.root, "restart": kind_of(found)}
    kind = no.kind if kind_of(found) == "RESTART" else kind_of(found)
    ended.next = next_calls(ref, str(ended.data["state"]), found, place, run, kind)
    return ended


def _answer(result: shell.Result, run: Run, seen: Seen) -> shell.Result:
    told = [{"cause": each.cause, "kind": each.kind, "step": each.step, "time": each.time} for each in run.restarts]
    result.data["restarted"] = told
    result.checks += seen.checks
    result.changed = seen.changed + result.changed
    return result


def _hint(ref: Ref, wish: Wish) -> str:
    return f"{ref.command('watch', *wish.words)} goes on; {ref.command('status')} looks, {ref.command('stop')} ends it"
