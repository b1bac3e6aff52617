"""The resumable data order: every sample once an epoch, whatever happens to the job in between."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest
import torch
from trainyard import GlobalOrder, MismatchError, data_fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def take(order: GlobalOrder, count: int) -> list[int]:
    return order.next_batch(count).tolist()


def global_batch(state: dict[str, int], size: int, world_size: int, **options: int) -> tuple[list[int], dict[str, int]]:
    """One global batch as `world_size` ranks see it, each restored from `state`; the slices and the state they agree on."""
    ranks = [GlobalOrder(state["num_samples"], **options) for _ in range(world_size)]
    for order in ranks:
        order.load_state_dict(state)
    shares = [order.next_batch(size, rank, world_size).tolist() for rank, order in enumerate(ranks)]
    states = [order.state_dict() for order in ranks]
    assert all(other == states[0] for other in states)
    return list(itertools.chain.from_iterable(shares)), states[0]


@pytest.mark.parametrize("trial", range(25))
def test_any_sequence_of_world_sizes_and_batch_sizes_covers_each_epoch_exactly_once(trial: int) -> None:
    dice = random.Random(trial)
    num_samples = dice.randint(1, 60)
    state = GlobalOrder(num_samples, seed=trial).state_dict()
    handed_out: list[int] = []
    while len(handed_out) < 4 * num_samples:
        world_size = dice.choice([1, 2, 3, 4, 7, 8])
        batch, state = global_batch(state, world_size * dice.randint(1, 5), world_size, seed=trial)
        handed_out += batch
        assert state["position"] == len(handed_out)
    for epoch in range(4):
        assert sorted(handed_out[epoch * num_samples : (epoch + 1) * num_samples]) == list(range(num_samples))
    assert handed_out == take(GlobalOrder(num_samples, seed=trial), len(handed_out))


def test_the_count_finds_an_order_that_gives_each_rank_a_fixed_part_of_the_epoch() -> None:
    """The negative control: such an order repeats samples, and loses others, when four ranks become two in mid-epoch."""
    order = take(GlobalOrder(24), 24)
    at_four = [order[rank * 6 : rank * 6 + 3] for rank in range(4)]
    at_two = [order[rank * 12 + 6 : rank * 12 + 12] for rank in range(2)]
    assert sorted(itertools.chain(*at_four, *at_two)) != list(range(24))


def test_a_batch_may_straddle_two_epochs_on_one_rank_and_on_many() -> None:
    whole = take(GlobalOrder(10, seed=3), 24)
    one = GlobalOrder(10, seed=3)
    take(one, 8)
    assert take(one, 8) == whole[8:16]
    start = GlobalOrder(10, seed=3)
    take(start, 8)
    batch, state = global_batch(start.state_dict(), 8, 4, seed=3)
    assert batch == whole[8:16] and state == one.state_dict()


def test_a_batch_larger_than_the_data_flows_through_several_epochs() -> None:
    assert Counter(take(GlobalOrder(3), 9)) == {0: 3, 1: 3, 2: 3}


def test_the_epoch_rises_when_its_last_sample_is_handed_out() -> None:
    order = GlobalOrder(6)
    seen = []
    for _ in range(4):
        order.next_batch(3)
        seen.append((order.position, order.epoch))
    assert seen == [(3, 0), (6, 1), (9, 1), (12, 2)]


def test_epochs_and_seeds_shuffle_differently() -> None:
    """Seeds s and epochs e with the same sum are different orders too."""
    orders = {(seed, epoch): tuple(take_epoch(seed, epoch)) for seed in range(4) for epoch in range(4)}
    assert len(set(orders.values())) == len(orders)


def take_epoch(seed: int, epoch: int) -> list[int]:
    return take(GlobalOrder(50, seed=seed), 50 * (epoch + 1))[-50:]


def test_seeds_that_differ_only_above_32_bits_shuffle_differently() -> None:
    assert take_epoch(1, 0) != take_epoch(1 + (1 << 32), 0)


def test_without_shuffle_the_order_is_that_of_the_data() -> None:
    assert take(GlobalOrder(4, shuffle=False), 10) == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]


def test_the_order_of_this_torch_release_is_pinned() -> None:
    """Fails when torch's randperm changes: saved positions then mean other samples, and the state's checksum must say so."""
    assert take(GlobalOrder(8, seed=1), 16) == [3, 5, 1, 4, 0, 7, 2, 6, 2, 3, 7, 4, 1, 0, 5, 6]


def test_drawing_from_the_global_rng_does_not_change_the_order_nor_the_other_way() -> None:
    torch.manual_seed(5)
    order = GlobalOrder(20, seed=2)
    torch.rand(3)
    first = take(order, 20)
    after = torch.rand(1)
    torch.manual_seed(5)
    torch.rand(3)
    assert torch.equal(torch.rand(1), after)
    assert first == take(GlobalOrder(20, seed=2), 20)


def test_writing_into_a_batch_leaves_the_order_alone() -> None:
    order = GlobalOrder(12, seed=1)
    expected = take(GlobalOrder(12, seed=1), 12)
    order.next_batch(6).fill_(-1)
    assert take(order, 6) == expected[6:]


def test_the_state_is_plain_integers_and_survives_json() -> None:
    order = GlobalOrder(30, seed=4)
    take(order, 37)
    state = order.state_dict()
    assert {type(value) for value in state.values()} == {int}
    resumed = GlobalOrder(30, seed=4)
    resumed.load_state_dict(json.loads(json.dumps(state)))
    assert take(resumed, 40) == take(order, 40)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (GlobalOrder(31, seed=4), "num_samples=30, this run has num_samples=31"),
        (GlobalOrder(30, seed=5), "seed=4, this run has seed=5"),
        (GlobalOrder(30, seed=4, shuffle=False), "shuffle=1, this run has shuffle=0"),
    ],
)
def test_a_state_of_another_order_is_refused_and_changes_nothing(other: GlobalOrder, words: str) -> None:
    saved = GlobalOrder(30, seed=4)
    take(saved, 7)
    with pytest.raises(MismatchError, match=words):
        other.load_state_dict(saved.state_dict())
    assert other.position == 0


def test_a_state_whose_shuffle_another_torch_made_is_refused() -> None:
    order = GlobalOrder(30, seed=4)
    state = order.state_dict()
    with pytest.raises(MismatchError, match="another order than the torch that saved"):
        order.load_state_dict({**state, "order_crc32": state["order_crc32"] ^ 1})
    order.load_state_dict(state)


@pytest.mark.parametrize("field", ["position", "num_samples", "seed", "shuffle", "order_crc32"])
def test_a_state_that_lacks_a_field_is_refused(field: str) -> None:
    order = GlobalOrder(30)
    state = order.state_dict()
    del state[field]
    with pytest.raises(MismatchError, match=r"data order was saved|another order"):
        order.load_state_dict(state)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: GlobalOrder(0), "num_samples must be at least 1"),
        (lambda: GlobalOrder(5).next_batch(10, 0, 4), "10 does not divide by 4 ranks"),
        (lambda: GlobalOrder(5).next_batch(0), "0 does not divide"),
        (lambda: GlobalOrder(5).next_batch(4, 2, 2), "rank 2 is not in a world of 2"),
    ],
)
def test_a_wrong_size_is_refused_in_words(call: Callable[[], object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


def test_a_refused_batch_does_not_move_the_position() -> None:
    order = GlobalOrder(5)
    with pytest.raises(ValueError, match="does not divide"):
        order.next_batch(3, 0, 2)
    assert order.position == 0


def test_only_the_current_epochs_permutation_is_kept() -> None:
    order = GlobalOrder(1000)
    for _ in range(50):
        order.next_batch(128)
        order.state_dict()
    held = [value for value in vars(order).values() if isinstance(value, torch.Tensor)]
    assert sum(tensor.untyped_storage().nbytes() for tensor in held) == 8 * 1000


def test_the_fingerprint_is_of_contents_not_of_names(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"text" * 500_000)
    (tmp_path / "b").write_bytes(b"text" * 500_000)
    same = {data_fingerprint(tmp_path / "a"), data_fingerprint(str(tmp_path / "b")), data_fingerprint(b"text" * 500_000)}
    assert len(same) == 1 and len(same.pop()) == 32


def test_the_fingerprint_sees_every_byte_and_every_boundary(tmp_path: Path) -> None:
    assert data_fingerprint(b"ab", b"c") != data_fingerprint(b"a", b"bc") != data_fingerprint(b"abc")
    assert data_fingerprint(b"abc") != data_fingerprint(b"abd")
    with pytest.raises(FileNotFoundError):
        data_fingerprint(tmp_path / "missing")
