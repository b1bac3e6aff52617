"""What the runtime writes is read by the stock safetensors package, value for value."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from trainyard import checkpoint_format as fmt
from trainyard.layout import whole
from trainyard.shard import write_shard
from trainyard.snapshot import Slot
from trainyard.stored_forms import DTYPE_NAMES

from tests.training.rt_folder import header_bytes, raw, save_tensors, shards, take_lock

SHAPES = [(), (0,), (2, 0, 3), (1,), (3,), (5, 3), (2, 3, 4)]


def filled(dice: random.Random, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Random bytes as values of this type: NaN payloads, denormals and all; 0 and 1 for bool."""
    count = torch.Size(shape).numel()
    if dtype == torch.bool:
        return torch.tensor([dice.random() < 0.5 for _ in range(count)], dtype=dtype).reshape(shape)
    data = bytearray(dice.randbytes(count * dtype.itemsize))
    return (torch.frombuffer(data, dtype=dtype) if data else torch.zeros(0, dtype=dtype)).reshape(shape)


def every_kind(seed: int) -> dict[str, torch.Tensor]:
    dice = random.Random(seed)
    return {f"{DTYPE_NAMES[dtype]}.{shape}": filled(dice, shape, dtype) for dtype in DTYPE_NAMES for shape in SHAPES}


def written(folder: Path, tensors: dict[str, torch.Tensor], slot: Slot | None = None) -> Path:
    slot = slot or Slot()
    slot.copy([whole(key, tensor) for key, tensor in tensors.items()])
    entry = write_shard(folder, 0, 1, slot)
    path = folder / fmt.shard_name(0, 1)
    assert entry == fmt.digest_of(path.read_bytes()), "the digest made beside the writing is not that of the file"
    return path


def assert_equal(found: dict[str, torch.Tensor], tensors: dict[str, torch.Tensor]) -> None:
    assert found.keys() == tensors.keys()
    for key, tensor in tensors.items():
        assert (found[key].dtype, found[key].shape) == (tensor.dtype, tensor.shape), key
        assert raw(found[key]) == raw(tensor), key


def test_load_file_reads_every_type_and_shape_exactly(tmp_path: Path) -> None:
    tensors = every_kind(1)
    assert_equal(load_file(written(tmp_path, tensors)), tensors)


def test_safe_open_reads_them_one_by_one_and_by_slice(tmp_path: Path) -> None:
    tensors = every_kind(2)
    with safe_open(written(tmp_path, tensors), framework="pt") as file:
        assert_equal({key: file.get_tensor(key) for key in file.keys()}, tensors)  # noqa: SIM118
        assert raw(file.get_slice("F32.(5, 3)")[1:4]) == raw(tensors["F32.(5, 3)"][1:4])
        assert file.metadata()["format"] == "pt"


def test_the_comparison_above_fails_for_one_flipped_bit(tmp_path: Path) -> None:
    tensors = {"w": torch.ones(4)}
    path = written(tmp_path, tensors)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(AssertionError, match="w"):
        assert_equal(load_file(path), tensors)


def test_tensors_that_are_strided_expanded_or_need_grad_are_written_as_their_values(tmp_path: Path) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    tensors = {"t": base.t(), "step": base[::2, ::3], "expanded": base[:1].expand(3, 6), "grad": base.clone().requires_grad_()}
    assert_equal(load_file(written(tmp_path, {key: value.detach() for key, value in tensors.items()})), tensors)


def test_a_snapshot_does_not_follow_the_tensors_as_training_goes_on(tmp_path: Path) -> None:
    tensor, slot = torch.ones(1000), Slot()
    slot.copy([whole("w", tensor)])
    tensor.add_(1)
    write_shard(tmp_path, 0, 1, slot)
    assert raw(load_file(tmp_path / fmt.shard_name(0, 1))["w"]) == raw(torch.ones(1000))


@pytest.mark.parametrize("seed", range(5))
def test_a_slot_used_again_for_other_tensors_holds_nothing_of_the_older_ones(tmp_path: Path, seed: int) -> None:
    dice, slot = random.Random(seed), Slot()
    for _ in range(6):
        shapes = [dice.choice(SHAPES) for _ in range(dice.randint(0, 6))]
        tensors = {f"t{i}": filled(dice, shape, dice.choice(list(DTYPE_NAMES))) for i, shape in enumerate(shapes)}
        assert_equal(load_file(written(tmp_path, tensors, slot)), tensors)


def test_prefaulting_before_the_copy_changes_nothing(tmp_path: Path) -> None:
    tensors, slot = every_kind(3), Slot()
    slot.prepare([whole(key, tensor) for key, tensor in tensors.items()])
    slot.prefault()
    assert_equal(load_file(written(tmp_path, tensors, slot)), tensors)


def test_the_header_is_aligned_and_carries_the_offsets_that_stock_dcp_reads(tmp_path: Path) -> None:
    path = written(tmp_path, {"a": torch.zeros(3, 2), "b": torch.tensor(1)})
    length = header_bytes(path)
    metadata = json.loads(path.read_bytes()[8:length])["__metadata__"]
    assert length % 8 == 0
    assert json.loads(metadata["DCP_SHARDING_INFO"]) == {"a": {"saved_offsets": [0, 0]}, "b": {"saved_offsets": []}}


def test_the_shards_of_a_committed_step_are_listed_with_both_digests(tmp_path: Path) -> None:
    folder = save_tensors(take_lock(tmp_path), 3, {"a": torch.ones(2)})
    (shard,) = shards(folder)
    entry = fmt.read_manifest(folder)["files"][shard.name]
    assert set(entry) == {"size", "crc32", "xxh3_128"} and entry["size"] == shard.stat().st_size
