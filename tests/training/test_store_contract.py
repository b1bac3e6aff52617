"""Every store keeps the same promises, and the checks of the promises find stores that do not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from trainyard import checkpoint_format as fmt
from trainyard.agreement import Agreement
from trainyard.disk_store import DiskStore
from trainyard.errors import TrainyardError
from trainyard.lock import Claim, Lock, take
from trainyard.policy import SavePolicy
from trainyard.resuming import Resume
from trainyard.saving import Due, Progress, Saver
from trainyard.store import Store
from trainyard.telemetry import Telemetry

from tests.training import toy_store
from tests.training.rt_folder import flip, header_bytes
from tests.training.store_contract import CHECKS, POLICY, Place
from tests.training.toy_store import Shelf, ToyStore

pytest_plugins = ["tests.training.rt_fixtures"]


class OnDisk:
    def __init__(self, root: Path) -> None:
        self._root = root / "checkpoints"
        self._root.mkdir()
        self._claim: Claim | None = None

    def start(self, policy: SavePolicy = POLICY) -> Store:
        if self._claim is not None:
            self._claim.release()
        self._claim = Claim(take(self._root))
        return DiskStore(self._root, policy, self._claim)

    def flip_a_bit(self, step: int) -> None:
        shard = self._root / fmt.step_name(step) / fmt.shard_name(0, 1)
        flip(shard, 8 * header_bytes(shard))


class InADictionary:
    def __init__(self, kind: type[ToyStore] = ToyStore) -> None:
        self._shelf, self._kind = Shelf(), kind

    def start(self, policy: SavePolicy = POLICY) -> Store:
        return self._kind(self._shelf, policy)

    def flip_a_bit(self, step: int) -> None:
        parts = self._shelf.steps[step].parts
        header, body = parts["rank 0"]
        parts["rank 0"] = header, bytes([body[0] ^ 1]) + bytes(body[1:])


PLACES: dict[str, Callable[[Path], Place]] = {"disk": OnDisk, "toy": lambda path: InADictionary()}


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("kind", PLACES)
def test_a_store_keeps_its_promises(kind: str, check: str, memory_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRAINYARD_RUN_ID", raising=False)
    CHECKS[check](PLACES[kind](memory_path))


BROKEN = {
    "Forgetful": "a_new_start_finds_every_committed_step_the_newest_first",
    "Torn": "what_several_ranks_saved_is_one_step_in_any_other_cut",
    "Lender": "the_memory_of_a_snapshot_is_free_once_it_is_committed",
    "Hasty": "parts_without_a_commit_are_no_step",
    "Trusting": "one_changed_bit_is_damage",
    "Hoarder": "the_newest_and_the_best_stay_and_the_rest_goes",
    "Careless": "the_end_of_a_training_stays_when_it_is_made_longer",
    "Stubborn": "what_the_run_has_gone_back_behind_is_proposed_no_more",
    "Obliging": "an_explicit_choice_is_that_one_or_an_error",
    "Permissive": "parameters_that_are_not_finite_are_rejected_by_their_names",
}
"""A store that breaks a promise -> the check that must find it."""


def found_by(place: Callable[[], Place]) -> list[str]:
    """The checks that this store does not pass, each in a place of its own."""
    failed = []
    for name, check in CHECKS.items():
        try:
            check(place())
        except (AssertionError, TrainyardError, LookupError, pytest.fail.Exception):
            failed.append(name)
    return failed


@pytest.mark.parametrize("kind", BROKEN)
def test_a_store_that_breaks_a_promise_is_found(kind: str) -> None:
    assert BROKEN[kind] in found_by(lambda: InADictionary(getattr(toy_store, kind)))


def test_only_the_broken_promise_is_found() -> None:
    assert found_by(lambda: InADictionary()) == []
    assert found_by(lambda: InADictionary(toy_store.Trusting)) == ["one_changed_bit_is_damage"]


# --- the checkpointer's own parts, with another store than the disk ----------------------------------------------


def things_of(seed: int) -> dict[str, Any]:
    torch.manual_seed(seed)
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    for _ in range(seed):
        model(torch.ones(1, 3)).sum().backward()
        optimizer.step()
    return {"model": model, "optimizer": optimizer}


def resume_of(store: Store, things: dict[str, Any]) -> Resume:
    return Resume(store, things, Agreement(timeout_s=5), Claim(Lock(Path("nowhere"), "a-run", 1, None)))


def test_saver_writer_and_restore_take_any_store(tmp_path: Path) -> None:
    shelf, policy, things = Shelf(), SavePolicy(keep_rolling=1), things_of(3)
    events = Telemetry(tmp_path, enabled=True)
    store = ToyStore(shelf, policy)
    saver = Saver(things, policy, Agreement(timeout_s=5), events, store, resume_of(store, things))
    for step in (2, 4):
        progress = Progress(step=step, epoch=0, best_loss=None, config={}, data_fingerprint=None)
        saver.save_now(Due({"rolling"}, None, False, None), progress)
    events.close()
    others = things_of(1)
    found = resume_of(again := ToyStore(shelf, policy), others).restore("latest", None)
    assert (found.step, again.durable_steps()) == (4, [4])
    for name in things:
        for one, other in zip(_tensors(things[name]), _tensors(others[name]), strict=True):
            assert torch.equal(one, other), name
    told = (tmp_path / "events.jsonl").read_text()
    assert told.count('"committed"') == 2 and told.count('"removed"') == 1


def _tensors(thing: Any) -> list[torch.Tensor]:
    state = thing.state_dict()
    return [*state.values()] if "state" not in state else [each for slots in state["state"].values() for each in slots.values()]
