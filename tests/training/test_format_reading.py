"""A tensor saved in any blocks fills a tensor cut into any other blocks; what is missing or changed is damage, never zeros."""

from __future__ import annotations

import json
import random
import struct
from pathlib import Path

import pytest
import torch
from torch import nn
from trainyard import checkpoint_format as fmt
from trainyard import disk_reading, reading
from trainyard.errors import MismatchError
from trainyard.layout import Piece, whole
from trainyard.stored_forms import DTYPE_NAMES

from tests.training.rt_folder import block_of, copy_of, cut, flip, header_bytes, raw, save, save_tensors, shards, take_lock
from tests.training.test_format_shards import SHAPES, filled


def pieces_of(dice: random.Random, tensors: dict[str, torch.Tensor], cuts: int) -> list[Piece]:
    """Every tensor cut at random; the pieces hold copies of their blocks."""
    return [
        Piece(key, block_of(tensor, *block).clone(), tuple(tensor.shape), block[0])
        for key, tensor in tensors.items()
        for block in cut(dice, tuple(tensor.shape), dice.randint(0, cuts))
    ]


def spread_at_random(dice: random.Random, pieces: list[Piece], world_size: int) -> list[list[Piece]]:
    """Pieces on random ranks, at most one block of a tensor on each: a safetensors file knows a key once."""
    ranks: list[list[Piece]] = [[] for _ in range(world_size)]
    for piece in pieces:
        free = [rank for rank in ranks if piece.key not in {other.key for other in rank}]
        dice.choice(free).append(piece)
    return ranks


def read(checkpoint: disk_reading.Checkpoint, piece: Piece) -> torch.Tensor:
    """The piece as a restore fills it, into memory of ones."""
    target = Piece(piece.key, torch.ones_like(piece.local), piece.global_shape, piece.offsets)
    disk_reading.verify(checkpoint, disk_reading.files_for(checkpoint, [target]))
    reading.fill(checkpoint, target)
    return target.local


@pytest.mark.parametrize("seed", range(60))
def test_any_blocks_saved_by_any_ranks_fill_any_other_blocks(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    shapes = [tuple(dice.randint(0, 7) for _ in range(dice.randint(0, 3))) for _ in range(5)]
    tensors = {f"t{i}": filled(dice, shape, dice.choice(list(DTYPE_NAMES))) for i, shape in enumerate(shapes)}
    blocks = pieces_of(dice, tensors, cuts=5)
    folder = save(take_lock(tmp_path), 1, spread_at_random(dice, blocks, world_size=7))
    checkpoint = disk_reading.open_checkpoint(folder)
    for piece in pieces_of(dice, tensors, cuts=5):
        assert raw(read(checkpoint, piece)) == raw(piece.local), (piece.key, piece.offsets)


def test_a_block_as_large_as_the_piece_but_at_another_place_is_not_taken_for_it(tmp_path: Path) -> None:
    tensor = torch.arange(12.0)
    blocks = [Piece("w", tensor[low:high], (12,), (low,)) for low, high in ((0, 4), (4, 8), (8, 12))]
    checkpoint = disk_reading.open_checkpoint(save(take_lock(tmp_path), 1, [[block] for block in blocks]))
    assert read(checkpoint, Piece("w", tensor[2:6], (12,), (2,))).tolist() == [2, 3, 4, 5]


def test_strided_targets_are_filled_in_place(tmp_path: Path) -> None:
    tensor = torch.arange(12.0).reshape(3, 4)
    checkpoint = disk_reading.open_checkpoint(save_tensors(take_lock(tmp_path), 1, {"w": tensor}))
    target = torch.zeros(4, 3)
    reading.fill(checkpoint, whole("w", target.t()))
    assert torch.equal(target, tensor.t())


def test_only_the_files_with_a_needed_element_are_named_for_reading(tmp_path: Path) -> None:
    tensor = torch.arange(8.0)
    ranks = [[Piece("w", tensor[low : low + 2], (8,), (low,))] for low in (0, 2, 4, 6)]
    folder = save(take_lock(tmp_path), 1, ranks)
    needed = disk_reading.files_for(disk_reading.open_checkpoint(folder), [Piece("w", torch.zeros(3), (8,), (1,))])
    assert needed == {"state.json", shards(folder)[0].name, shards(folder)[1].name}


# --- damage ------------------------------------------------------------------------------------------------------


def outcome(folder: Path, tensors: dict[str, torch.Tensor]) -> str:
    """What a restore of these tensors would make of the folder, as it decides it: "good", or what is wrong."""
    pieces = [whole(key, torch.zeros_like(tensor)) for key, tensor in tensors.items()]
    try:
        checkpoint = disk_reading.open_checkpoint(folder)
        reading.check_tensors(checkpoint, tensors)
        disk_reading.verify(checkpoint, disk_reading.files_for(checkpoint, pieces))
        for piece in pieces:
            reading.fill(checkpoint, piece)
    except fmt.DamagedError as error:
        return f"damaged: {error}"
    for piece in pieces:
        assert raw(piece.local) == raw(tensors[piece.key]), "accepted, and other values than those saved"
    return "good"


def test_every_single_bit_of_a_shard_header_is_covered(tmp_path: Path) -> None:
    """The header is parsed before the file is verified, so a flip in it must neither hide a block nor crash the reader."""
    tensors = {"a": torch.arange(4.0).reshape(2, 2), "b": torch.tensor(7)}
    ranks = [[whole(key, tensor)] for key, tensor in tensors.items()]
    folder = save(take_lock(tmp_path), 1, ranks)
    assert outcome(folder, tensors) == "good"
    shard = shards(folder)[0]  # the only one with this tensor: whoever is led to believe it elsewhere does not read this file
    for bit in range(8 * header_bytes(shard)):
        flip(shard, bit)
        assert outcome(folder, tensors).startswith("damaged"), f"bit {bit}"
        flip(shard, bit)
    assert outcome(folder, tensors) == "good"


def test_any_single_bit_of_the_data_and_of_the_state_is_covered(tmp_path: Path) -> None:
    """Of the state one bit of every eleventh byte, each place in a byte in turn: it is long, and one digest covers all of it."""
    tensors = {"a": torch.arange(4.0).reshape(2, 2)}
    folder = save_tensors(take_lock(tmp_path), 1, tensors)
    (shard,) = shards(folder)
    spans = {
        shard: range(8 * header_bytes(shard), 8 * shard.stat().st_size),
        folder / "state.json": range(0, 8 * (folder / "state.json").stat().st_size, 89),
    }
    for path, bits in spans.items():
        for bit in bits:
            flip(path, bit)
            assert "differs from the manifest's" in outcome(folder, tensors), f"bit {bit} of {path.name}"
            flip(path, bit)
    assert outcome(folder, tensors) == "good"


def forge(folder: Path, change: dict[str, object]) -> None:
    """A shard whose header was rewritten, under a manifest that was sealed again over it: only its meaning is wrong."""
    (shard,) = shards(folder)
    length, data = header_bytes(shard), shard.read_bytes()
    header = json.loads(data[8:length])
    header["w"].update({key: value for key, value in change.items() if key != "saved_offsets"})
    if "saved_offsets" in change:
        header["__metadata__"]["DCP_SHARDING_INFO"] = json.dumps({"w": {"saved_offsets": change["saved_offsets"]}})
    text = json.dumps(header).encode()
    shard.write_bytes(struct.pack("<Q", len(text)) + text + data[length:])
    manifest = fmt.read_manifest(folder)
    manifest["files"][shard.name] = fmt.digest_of(shard.read_bytes())
    (folder / "manifest.json").write_bytes(fmt.seal(manifest))


@pytest.mark.parametrize(
    "change",
    [
        {"saved_offsets": [4]},
        {"saved_offsets": [-1]},
        {"saved_offsets": [0.0]},
        {"saved_offsets": []},
        {"shape": [2]},
        {"shape": [4, 1]},
        {"shape": "4"},
        {"shape": [4.5]},
        {"data_offsets": []},
        {"data_offsets": [999999, 1000015]},
        {"dtype": "F33"},
        {"dtype": "I32"},
    ],
)
def test_a_header_whose_meaning_is_wrong_is_damage_even_where_all_digests_match(
    tmp_path: Path, change: dict[str, object]
) -> None:
    tensors = {"w": torch.arange(4.0)}
    folder = save_tensors(take_lock(tmp_path), 1, tensors)
    forge(folder, {})
    assert outcome(folder, tensors) == "good"
    forge(folder, change)
    assert outcome(folder, tensors).startswith("damaged")


def test_a_shard_cut_at_any_4_KiB_boundary_or_inside_its_header_is_damaged(tmp_path: Path) -> None:
    tensors = {"w": torch.arange(50_000.0)}
    folder = save_tensors(take_lock(tmp_path), 1, tensors)
    (shard,) = shards(folder)
    data = shard.read_bytes()
    for size in [*range(0, len(data), 4096), 1, 7, 8, 9, header_bytes(shard), len(data) - 1]:
        with shard.open("r+b") as file:
            file.truncate(size)
        assert f"{size} bytes, the manifest says {len(data)}" in outcome(folder, tensors)
        shard.write_bytes(data)
    assert outcome(folder, tensors) == "good"


def test_any_4_KiB_block_of_zeros_in_a_shard_is_damage(tmp_path: Path) -> None:
    tensors = {"w": torch.arange(1.0, 50_001.0)}
    folder = save_tensors(take_lock(tmp_path), 1, tensors)
    (shard,) = shards(folder)
    data = shard.read_bytes()
    for start in range(0, len(data), 4096):
        zeros = bytes(min(4096, len(data) - start))
        shard.write_bytes(data[:start] + zeros + data[start + len(zeros) :])
        assert outcome(folder, tensors).startswith("damaged"), start
    shard.write_bytes(data)
    assert outcome(folder, tensors) == "good"


def test_shards_swapped_between_ranks_are_damage(tmp_path: Path) -> None:
    tensors = {"a": torch.zeros(8), "b": torch.ones(8)}
    folder = save(take_lock(tmp_path), 1, [[whole(key, tensor)] for key, tensor in tensors.items()])
    first, second = shards(folder)
    first.rename(folder / "between")
    second.rename(first)
    (folder / "between").rename(second)
    assert outcome(folder, tensors).startswith("damaged")


def test_an_older_step_under_the_newer_name_is_damage(tmp_path: Path) -> None:
    lock, tensors = take_lock(tmp_path), {"a": torch.ones(8)}
    older = save_tensors(lock, 1, tensors)
    replayed = copy_of(older, tmp_path / "step_00000002")
    assert outcome(older, tensors) == "good"
    assert "the manifest is of step 1" in outcome(replayed, tensors)


# --- another model -----------------------------------------------------------------------------------------------


def test_the_first_differing_tensors_of_another_model_are_named_and_the_rest_counted(tmp_path: Path) -> None:
    saved = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)).state_dict()
    checkpoint = disk_reading.open_checkpoint(save_tensors(take_lock(tmp_path), 1, saved))
    reading.check_tensors(checkpoint, saved)
    wanted = {"0.weight": torch.zeros(5, 4), "0.bias": saved["0.bias"].double(), "extra": torch.zeros(1)}
    with pytest.raises(MismatchError) as refusal:
        reading.check_tensors(checkpoint, wanted)
    for words in ("0.weight is F32[5, 4], in the checkpoint F32[3, 4]", "0.bias is F64[3]", "extra is not in the checkpoint"):
        assert words in str(refusal.value)
    with pytest.raises(MismatchError, match=r"\(and 1 more\)"):
        reading.check_tensors(checkpoint, wanted | {"extra2": torch.zeros(1)})


def test_shapes_used_in_this_file_include_the_odd_ones() -> None:
    assert {(), (0,), (2, 0, 3)} <= set(SHAPES)
