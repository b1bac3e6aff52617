"""ResumableLoader: the place of a loop in its data."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import trainyard
from torch.utils.data import Dataset

SAMPLES = 22


class Squares(Dataset[torch.Tensor]):
    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.tensor(index)


def loader(**more: Any) -> trainyard.ResumableLoader:
    return trainyard.ResumableLoader(Squares(), **{"batch_size": 4, "seed": 3, **more})


def samples(batches: list[torch.Tensor]) -> list[int]:
    return [int(sample) for batch in batches for sample in batch]


def epochs(count: int, **more: Any) -> list[list[int]]:
    one = loader(**more)
    return [samples(list(one)) for _ in range(count)]


def test_an_epoch_gives_no_sample_twice_and_leaves_out_what_fills_no_batch() -> None:
    first, second = epochs(2)
    assert len(first) == len(set(first)) == 20 and len(second) == len(set(second)) == 20
    assert first != second and len(loader()) == 5


@pytest.mark.parametrize("workers", [0, 2])
def test_it_goes_on_after_the_last_batch_that_the_loop_had(workers: int) -> None:
    """Also where workers have read ahead, and across the end of an epoch."""
    expected = [sample for epoch in epochs(2) for sample in epoch]
    for taken in range(10):
        before, after = loader(num_workers=workers), loader(num_workers=workers)
        had: list[int] = []
        while len(had) < 4 * taken:
            for batch in before:
                had += batch.tolist()
                if len(had) == 4 * taken:
                    break
        after.load_state_dict(copy.deepcopy(before.state_dict()))
        while len(had) < len(expected):
            had += samples(list(after))
        assert had == expected
        if workers and taken > 2:
            break  # each turn starts processes


def test_the_ranks_together_see_what_one_rank_sees() -> None:
    alone = epochs(1)[0]
    shares = [list(loader(batch_size=2, rank=rank, world_size=2)) for rank in range(2)]
    together = [int(sample) for pair in zip(*shares, strict=True) for batch in pair for sample in batch]
    assert together == alone


def test_a_run_goes_on_at_another_number_of_ranks() -> None:
    one = loader()
    had = next(iter(one)).tolist()
    halves = [loader(batch_size=2, rank=rank, world_size=2) for rank in range(2)]
    for half in halves:
        half.load_state_dict(one.state_dict())
    rest = [int(sample) for pair in zip(*map(list, halves), strict=True) for batch in pair for sample in batch]
    assert had + rest == epochs(1)[0]


def test_a_rest_that_fills_no_batch_on_more_ranks_is_passed_over() -> None:
    """Two samples are left for a batch of four: a loop over epochs would never get past that place."""
    few = loader(batch_size=2)
    for _, _ in zip(range(10), few, strict=False):
        pass
    more = loader()
    more.load_state_dict({**more.state_dict(), "position": 20})
    assert len(list(more)) == 5 and more.epoch == 2


def test_an_iterator_from_before_a_restore_goes_on_from_there() -> None:
    one = loader()
    had = [next(iter(one))]
    early = iter(one)
    next(early)
    one.load_state_dict({**one.state_dict(), "position": 4})
    assert samples([*had, *early]) == epochs(1)[0]


def test_an_iterator_whose_epoch_is_over_stays_at_its_end() -> None:
    one = loader()
    batches = iter(one)
    assert len(list(batches)) == 5 and next(batches, None) is None and one.epoch == 1


def test_the_number_of_the_next_batch_can_be_asked_for() -> None:
    one = loader()
    assert [(one.batches_done, one.epoch) for _ in one] == [(1, 0), (2, 0), (3, 0), (4, 0), (0, 1)]


def test_a_marked_position_is_what_is_saved() -> None:
    """A batch that was fetched for a step that is not done is fetched again."""
    one = loader()
    batches = iter(one)
    next(batches), one.mark(), next(batches)
    after = loader()
    after.load_state_dict(one.state_dict())
    assert after.batches_done == 1 and one.batches_done == 2


@pytest.mark.parametrize(
    ("sizes", "per_rank"), [({"batch_size": 4}, 4), ({"batch_size_per_rank": 4}, 4), ({"global_batch_size": 4}, 2)]
)
def test_a_batch_is_as_large_as_its_name_says(sizes: dict[str, int], per_rank: int) -> None:
    one = trainyard.ResumableLoader(Squares(), rank=0, world_size=2, **sizes)
    assert len(next(iter(one))) == one.batch_size == per_rank and one.global_batch_size == 2 * per_rank


def test_batch_size_says_once_that_it_is_for_each_rank(capsys: pytest.CaptureFixture[str]) -> None:
    for sizes in ({"batch_size": 4}, {"batch_size_per_rank": 4}, {"global_batch_size": 4}):
        for rank in range(2):
            one = trainyard.ResumableLoader(Squares(), rank=rank, world_size=2, **sizes)
            list(one), list(one)
    list(loader())
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("trainyard: batch_size=4 is for each rank: 8 samples a batch on 2 ranks")


def test_it_takes_nothing_from_the_random_numbers_of_the_training() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    list(loader())
    assert torch.equal(torch.get_rng_state(), before)


def test_without_its_state_it_begins_again() -> None:
    """The negative control."""
    one = loader()
    had = samples([next(iter(one))])
    assert had + samples(list(loader())) != epochs(1)[0] and had + samples(list(one)) == epochs(1)[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"drop_last": True}, "decides drop_last itself"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"batch_size": None}, "takes one of batch_size, batch_size_per_rank, global_batch_size, not none"),
        ({"global_batch_size": 4}, "not batch_size and global_batch_size"),
        (
            {"batch_size": None, "global_batch_size": 3, "world_size": 2, "rank": 0},
            "global_batch_size=3 does not divide by 2 ranks",
        ),
        ({"batch_size": 12, "world_size": 2, "rank": 0}, "22 samples do not fill one batch of 12 on each of 2 ranks"),
    ],
)
def test_what_it_cannot_do_it_says(options: dict[str, Any], words: str) -> None:
    with pytest.raises(trainyard.ConfigError, match=words):
        iter(next(iter(loader(**options))))


def test_another_seed_is_another_order_and_is_refused() -> None:
    with pytest.raises(trainyard.MismatchError, match="seed=3"):
        loader(seed=4).load_state_dict(loader().state_dict())
