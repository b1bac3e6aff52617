"""Restore: rank 0 proposes a step, every rank verifies what it will read, and all agree or step down to the next."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from trainyard import objects, rank_errors
from trainyard.agreement import Agreement
from trainyard.applying import Prepared, apply, check_generators, prepare
from trainyard.choosing import listed
from trainyard.errors import DamagedError, MismatchError, RestoreError, TrainyardError
from trainyard.patience import UNREADABLE
from trainyard.rank_errors import RankError, as_data, texts
from trainyard.store import SavedStep, Store
from trainyard.targets import notes_on_lengths


@dataclass
class Restored:
    """What a restore found."""

    step: int = 0
    requested: str = "latest"
    shared: dict[str, Any] = field(default_factory=dict)
    skipped: list[dict[str, Any]] = field(default_factory=list)
    aside: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What came back, and not quite as it was."""


class PartlyRestoredError(MismatchError):
    """An object refused its state when others had theirs already."""


def restore(store: Store, requested: str, things: objects.Objects, agreement: Agreement, fingerprint: str | None) -> Restored:
    """Collective. Bring `things` to the proposed step that verifies on every rank; step 0 when there is nothing to restore.

    Raises RestoreError when an explicit choice, or everything there is, is damaged, and when a step cannot be read, which says
    nothing about it; MismatchError when it is of another model.
    """
    result = Restored(requested=requested)
    steps = on_rank_0(agreement, lambda: store.candidates(requested))
    any_run = requested.startswith("step:")
    for step in steps:
        prepared, error = _try_prepare(partial(store.open, step, any_run=any_run), things, fingerprint, agreement)
        damage = _damage(store, step, agreement.gather(error))
        if not damage:
            assert prepared is not None
            result.step, result.shared = step, prepared.state["shared"]
            _apply_together(prepared, things, agreement, result.notes)
            return result
        result.skipped.append({"step": step, "reason": damage})
    if result.skipped:
        raise _nothing_intact(store, result, steps)
    return result


def _try_prepare(
    opened: Callable[[], SavedStep], things: objects.Objects, fingerprint: str | None, agreement: Agreement
) -> tuple[Prepared | None, RankError | None]:
    try:
        return prepare(opened(), things, fingerprint, agreement.rank, agreement.world_size), None
    except (MismatchError, DamagedError, *UNREADABLE) as error:
        return None, as_data(error)


def _damage(store: Store, step: int, found: list[RankError | None]) -> str:
    """What the ranks found damaged, "" where the step is intact on all of them. Raises MismatchError, RestoreError."""
    if mismatches := texts(found, "MismatchError"):
        raise MismatchError(mismatches[0])
    damage = _each_once(texts(found, "DamagedError"))
    if not damage and (unreadable := _each_once(texts(found, rank_errors.UNREADABLE))):
        raise RestoreError(
            f"{store}: step {step} cannot be read: {unreadable}. It may be intact, so nothing was changed. {store.way_out(step)}"
        )
    return damage


def _nothing_intact(store: Store, found: Restored, steps: list[int]) -> RestoreError:
    """Why none of the proposed `steps` was restored."""
    reasons = "; ".join(f"step {entry['step']}: {entry['reason']}" for entry in found.skipped)
    if found.requested != "latest":
        others = [step for step in store.durable_steps() if step not in steps]
        return RestoreError(
            f"{store}: checkpoint {found.requested} is damaged ({reasons}); other steps there: {listed(others)}"
        )
    return RestoreError(f"{store}: no checkpoint is intact ({reasons}). To train from the beginning say so: restore('none')")


def _each_once(words: list[str]) -> str:
    return "; ".join(sorted(set(words)))


def _apply_together(prepared: Prepared, things: objects.Objects, agreement: Agreement, notes: list[str]) -> None:
    """`apply`, of which every rank learns whether it worked on all: none trains with ranks that did not restore."""
    notes += notes_on_lengths(things, prepared.state["shared"]["objects"])
    failure: Exception | None = None
    try:
        apply(prepared, things, agreement.rank, notes.append)
    except (MismatchError, DamagedError, *UNREADABLE) as error:
        failure = error
    failures = texts(agreement.gather(as_data(failure) if failure else None))
    if failures:
        raise PartlyRestoredError(failures[0]) from failure


def peek(store: Store, agreement: Agreement) -> tuple[int, dict[str, Any]]:
    """(step, its objects' JSON) of the checkpoint that restore("latest") will choose; (0, {}) where there is none. Collective.

    For a trainer that must know the step before it makes its objects. Rank 0 verifies every byte, so that no rank finds damage
    in this checkpoint later and steps down to another. Raises RestoreError when one cannot be read.
    """

    def newest() -> list[Any]:
        for step in store.candidates("latest"):
            with contextlib.suppress(DamagedError):
                checkpoint = store.open(step)
                checkpoint.verify()
                check_generators(checkpoint, checkpoint.state["ranks"])
                return [step, checkpoint.state["shared"]["objects"]]
        return [0, {}]

    step, found = on_rank_0(agreement, newest)
    return step, found


def on_rank_0(agreement: Agreement, compute: Any) -> Any:
    """Rank 0's answer on every rank; its TrainyardError, or a read that failed, is raised on every rank."""
    outcome: dict[str, Any] = {}
    if agreement.rank == 0:
        try:
            outcome = {"value": compute()}
        except (TrainyardError, *UNREADABLE) as error:
            outcome = {"error": as_data(error)}
    outcome = agreement.broadcast(outcome)
    if "error" in outcome:
        raise RestoreError(outcome["error"]["text"])
    return outcome["value"]
