"""Over all ranks every tensor is written exactly once, and about the same number of bytes by each."""

from __future__ import annotations

import random

import pytest
import torch
from trainyard import layout, stored_forms
from trainyard.errors import ConfigError

WORLDS = [1, 2, 3, 4, 7]


def some_tensors(dice: random.Random) -> dict[str, torch.Tensor]:
    dtypes = list(stored_forms.DTYPE_NAMES)
    shapes = [(), (0,), (3, 0), (1,), (5,), (4, 7), (64, 9), (300,)]
    return {f"t{i}": torch.zeros(dice.choice(shapes), dtype=dice.choice(dtypes)) for i in range(dice.randint(0, 40))}


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("world_size", WORLDS)
def test_every_replicated_tensor_has_exactly_one_owner_and_buffers_have_rank_0(seed: int, world_size: int) -> None:
    dice = random.Random(seed)
    tensors = some_tensors(dice)
    buffers = {key for key in tensors if dice.random() < 0.2}
    by_rank = [layout.own_pieces(tensors, rank, world_size, buffers) for rank in range(world_size)]
    written = [piece.key for pieces in by_rank for piece in pieces]
    assert sorted(written) == sorted(tensors)
    assert buffers <= {piece.key for piece in by_rank[0]}


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("world_size", WORLDS)
def test_no_rank_writes_more_than_another_by_more_than_the_largest_tensor(seed: int, world_size: int) -> None:
    pieces = [layout.whole(key, tensor) for key, tensor in some_tensors(random.Random(seed)).items()]
    owners = layout.spread(pieces, world_size, set())
    loads = [sum(piece.nbytes for piece in pieces if owners[piece.key] == rank) for rank in range(world_size)]
    assert max(loads) - min(loads) <= max((piece.nbytes for piece in pieces), default=0)


def test_bytes_on_rank_0_for_being_buffers_count_in_its_load() -> None:
    tensors = {"buffer": torch.zeros(100)} | {f"p{i}": torch.zeros(50) for i in range(2)}
    owners = layout.spread([layout.whole(key, tensor) for key, tensor in tensors.items()], 2, {"buffer"})
    assert owners == {"buffer": 0, "p0": 1, "p1": 1}


def test_the_assignment_does_not_depend_on_the_order_in_which_a_rank_names_its_tensors() -> None:
    pieces = [layout.whole(f"t{i}", torch.zeros(i % 3)) for i in range(30)]
    shuffled = random.Random(1).sample(pieces, len(pieces))
    assert layout.spread(pieces, 4, set()) == layout.spread(shuffled, 4, set())


def test_a_tensor_of_a_type_that_safetensors_lacks_is_refused_by_its_name() -> None:
    with pytest.raises(ConfigError, match=r"small: tensors of torch.int4 cannot be stored"):
        layout.whole("small", torch.zeros(2, dtype=torch.int8).view(torch.int4))


def test_a_tensor_that_is_a_shell_around_others_is_refused_by_its_name() -> None:
    """Quantized optimizer states are such shells: they have no address, and copying from it would end the process."""
    from torch.testing._internal.two_tensor import TwoTensor

    shell = TwoTensor(torch.zeros(2), torch.zeros(2))
    with pytest.raises(ConfigError, match=r"optimizer\.state\.w\.exp_avg: a TwoTensor cannot be saved"):
        layout.own_pieces({"optimizer.state.w.exp_avg": shell}, 0, 1, set())
