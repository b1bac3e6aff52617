"""What the checkpointer relies on in a store (store.py), as checks that any store is run through."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

import pytest
import torch
from trainyard import layout, reading
from trainyard.errors import DamagedError, RestoreError, SaveError
from trainyard.layout import Piece, whole
from trainyard.policy import SavePolicy
from trainyard.snapshot import Slot
from trainyard.store import Rejected, Save, Store

from tests.training.rt_folder import info, rank_state, raw, shared_state

POLICY = SavePolicy(part_timeout_s=5.0)


class Place(Protocol):
    """Where stores of one kind keep their steps, in a test."""

    def start(self, policy: SavePolicy = POLICY) -> Store:
        """The store of a new start of the run; the one of the start before is used no more."""

    def flip_a_bit(self, step: int) -> None:
        """In the bytes of a tensor of a committed step."""


Check = Callable[[Place], None]


def tensors_of(step: int) -> dict[str, torch.Tensor]:
    """Other values at each step."""
    return {
        "model.w": torch.arange(24.0).reshape(6, 4) + 100 * step,
        "model.b": torch.arange(5, dtype=torch.int64) - step,
        "model.empty": torch.zeros(0, 3),
    }


def pieces_of(tensors: dict[str, torch.Tensor], rank: int, world_size: int) -> list[Piece]:
    """`model.w` by rows over the ranks, everything else on the first."""
    rows = tensors["model.w"].tensor_split(world_size)
    start = sum(len(part) for part in rows[:rank])
    own = Piece("model.w", rows[rank], tuple(tensors["model.w"].shape), (start, 0))
    return [own, *(whole(key, tensor) for key, tensor in tensors.items() if key != "model.w" and rank == 0)]


def snapshot(step: int, rank: int = 0, world_size: int = 1, slot: Slot | None = None, **fields: Any) -> Save:
    """One rank's; `tensors` are other ones than `tensors_of(step)`."""
    pieces = pieces_of(fields.pop("tensors", None) or tensors_of(step), rank, world_size)
    slot = slot or Slot()
    slot.copy(pieces)
    return Save(
        info=info(step, **fields),
        slot=slot,
        rank=rank,
        world_size=world_size,
        tensors=layout.describe(pieces),
        shared=shared_state(step),
        rank_state=rank_state(),
        parameters={"model.w"},
        taken_at=time.monotonic(),
    )


def save(store: Store, step: int, world_size: int = 1, **fields: Any) -> None:
    """A whole step, by all ranks, tidied up after."""
    saves = [snapshot(step, rank, world_size, **fields) for rank in range(world_size)]
    for each in reversed(saves):
        store.write(each)
    assert store.commit(saves[0]) > 0
    assert not store.retain(step).problems


def assert_holds(store: Store, step: int, tensors: dict[str, torch.Tensor] | None = None) -> None:
    """The step verifies, and every byte of it is that of `tensors_of(step)`, or of `tensors`."""
    expected, opened = tensors or tensors_of(step), store.open(step)
    opened.verify()
    targets = {key: torch.ones_like(tensor) for key, tensor in expected.items()}
    reading.check_tensors(opened, targets)
    for key, target in targets.items():
        reading.fill(opened, whole(key, target))
        assert raw(target) == raw(expected[key]), key


# --- saved is saved ----------------------------------------------------------------------------------------------


def nothing_is_proposed_where_nothing_was_saved(place: Place) -> None:
    store = place.start()
    assert (store.candidates("latest"), store.candidates("none"), store.durable_steps()) == ([], [], [])


def a_new_start_finds_every_committed_step_the_newest_first(place: Place) -> None:
    store = place.start()
    for step in (2, 4, 10):
        save(store, step)
        assert store.candidates("latest")[0] == step
    again = place.start()
    assert (again.candidates("latest"), again.durable_steps()) == ([10, 4, 2], [2, 4, 10])
    assert again.candidates("none") == []
    for step in (2, 4, 10):
        assert_holds(again, step)


def what_several_ranks_saved_is_one_step_in_any_other_cut(place: Place) -> None:
    store = place.start()
    save(store, 1, world_size=3)
    save(store, 2, world_size=3)
    for step in (1, 2):
        assert_holds(place.start(), step)
    opened, expected = store.open(2), tensors_of(2)
    for piece in [piece for rank in range(4) for piece in pieces_of(expected, rank, 4)]:
        target = Piece(piece.key, torch.ones_like(piece.local), piece.global_shape, piece.offsets)
        opened.verify([target])
        reading.fill(opened, target)
        assert raw(target.local) == raw(piece.local)


def what_is_no_tensor_comes_back_of_every_rank(place: Place) -> None:
    store = place.start()
    saves = [snapshot(3, rank, 2, epoch=1, end_of_epoch=True, val_loss=0.5, reasons=("epoch", "best")) for rank in range(2)]
    for each in saves:
        store.write(each)
    store.commit(saves[0])
    opened = place.start().open(3)
    assert opened.state["shared"] == saves[0].shared
    assert opened.state["ranks"] == {str(each.rank): each.rank_state for each in saves}
    told = {name: opened.manifest[name] for name in ("step", "epoch", "end_of_epoch", "val_loss", "reasons", "world_size")}
    assert told == {
        "step": 3, "epoch": 1, "end_of_epoch": True, "val_loss": 0.5, "reasons": ["best", "epoch"], "world_size": 2,
    }  # fmt: skip


def the_memory_of_a_snapshot_is_free_once_it_is_committed(place: Place) -> None:
    store, slot = place.start(), Slot()
    for step in (1, 2):
        each = snapshot(step, slot=slot)
        store.write(each)
        store.commit(each)
    assert_holds(store, 1)
    assert_holds(store, 2)


def a_step_that_is_saved_again_is_replaced(place: Place) -> None:
    """With its evaluation, which was told later."""
    store, other = place.start(), tensors_of(9)
    save(store, 2)
    save(store, 2, tensors=other, val_loss=0.25)
    again = place.start()
    assert again.candidates("latest") == again.candidates("best") == [2]
    assert_holds(again, 2, other)


# --- not saved is not there --------------------------------------------------------------------------------------


def parts_without_a_commit_are_no_step(place: Place) -> None:
    store = place.start()
    save(store, 2)
    unfinished = [snapshot(4, rank, 2) for rank in range(2)]
    for each in unfinished:
        store.write(each)
        assert (store.candidates("latest"), store.durable_steps()) == ([2], [2])
    store.abandon(unfinished[0])
    assert place.start().candidates("latest") == [2]
    save(store := place.start(), 4, world_size=2)
    assert_holds(store, 4)


def a_rank_that_gives_no_part_costs_this_save_and_no_older_step(place: Place) -> None:
    store = place.start(SavePolicy(part_timeout_s=0.05))
    save(store, 2)
    alone = snapshot(4, 0, 2)
    store.write(alone)
    with pytest.raises(SaveError):
        store.commit(alone)
    store.abandon(alone)
    assert place.start().candidates("latest") == [2]
    assert_holds(store, 2)


def parameters_that_are_not_finite_are_rejected_by_their_names(place: Place) -> None:
    store, bad = place.start(), tensors_of(4)
    save(store, 2)
    bad["model.w"][3, 1] = torch.nan
    each = snapshot(4, tensors=bad)
    store.write(each)
    with pytest.raises(Rejected) as refusal:
        store.commit(each)
    assert refusal.value.tensors == ["model.w"]
    store.abandon(each)
    assert place.start().durable_steps() == [2]


def one_changed_bit_is_damage(place: Place) -> None:
    store = place.start()
    save(store, 2)
    save(store, 4)
    place.flip_a_bit(4)
    assert store.candidates("latest") == [4, 2], "it is proposed, and refused: or a run would begin again without a word"
    with pytest.raises(DamagedError):
        store.open(4).verify()
    with pytest.raises(DamagedError):
        store.open(4).verify([whole("model.w", torch.zeros(6, 4))])
    assert_holds(store, 2)


# --- what stays --------------------------------------------------------------------------------------------------


def the_newest_and_the_best_stay_and_the_rest_goes(place: Place) -> None:
    store = place.start(SavePolicy(keep_rolling=2, keep_epochs=1))
    save(store, 1, val_loss=0.5, reasons=("best",))
    save(store, 2, end_of_epoch=True, reasons=("epoch",))
    for step in (3, 4, 5):
        save(store, step)
    save(store, 6, end_of_epoch=True, epoch=1, reasons=("epoch",))
    assert place.start().durable_steps() == [1, 4, 5, 6]
    assert_holds(store, 1)


def what_goes_is_told(place: Place) -> None:
    store, removed = place.start(SavePolicy(keep_rolling=1, keep_epochs=0)), []
    for step in (1, 2, 3):
        each = snapshot(step)
        store.write(each)
        store.commit(each)
        removed += store.retain(step).removed
    assert (removed, store.durable_steps()) == ([1, 2], [3])


def the_end_of_a_training_stays_when_it_is_made_longer(place: Place) -> None:
    store = place.start(SavePolicy(keep_rolling=1))
    save(store, 2)
    store.mark_final(2)
    store = place.start(SavePolicy(keep_rolling=1))
    for step in (3, 4):
        save(store, step)
    assert place.start().durable_steps() == [2, 4]


# --- what is asked for -------------------------------------------------------------------------------------------


def an_explicit_choice_is_that_one_or_an_error(place: Place) -> None:
    store = place.start()
    save(store, 1, val_loss=0.5)
    save(store, 2, end_of_epoch=True)
    save(store, 3, val_loss=0.75)
    choices = {"best": [1], "epoch:0": [2], "step:3": [3]}
    assert {requested: store.candidates(requested) for requested in choices} == choices
    for requested in ("step:4", "epoch:1"):
        with pytest.raises(RestoreError):
            store.candidates(requested)


def the_best_of_nothing_that_was_validated_is_an_error(place: Place) -> None:
    store = place.start()
    save(store, 1)
    with pytest.raises(RestoreError):
        store.candidates("best")


def what_the_run_has_gone_back_behind_is_proposed_no_more(place: Place) -> None:
    store = place.start()
    for step in (2, 4, 6):
        save(store, step)
    assert len(store.set_newer_aside(2, set())) == 2
    assert place.start().candidates("latest") == [2]
    save(store := place.start(), 4, tensors=(other := tensors_of(8)))
    assert store.candidates("latest") == [4, 2]
    assert_holds(store, 4, other)


CHECKS: dict[str, Check] = {
    check.__name__: check
    for check in (
        nothing_is_proposed_where_nothing_was_saved,
        a_new_start_finds_every_committed_step_the_newest_first,
        what_several_ranks_saved_is_one_step_in_any_other_cut,
        what_is_no_tensor_comes_back_of_every_rank,
        the_memory_of_a_snapshot_is_free_once_it_is_committed,
        a_step_that_is_saved_again_is_replaced,
        parts_without_a_commit_are_no_step,
        a_rank_that_gives_no_part_costs_this_save_and_no_older_step,
        parameters_that_are_not_finite_are_rejected_by_their_names,
        one_changed_bit_is_damage,
        the_newest_and_the_best_stay_and_the_rest_goes,
        what_goes_is_told,
        the_end_of_a_training_stays_when_it_is_made_longer,
        an_explicit_choice_is_that_one_or_an_error,
        the_best_of_nothing_that_was_validated_is_an_error,
        what_the_run_has_gone_back_behind_is_proposed_no_more,
    )
}
