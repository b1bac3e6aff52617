"""`verify` on other people's checkpoints: intact needs a checksum over every byte; whatever is wrong is found and named."""

from __future__ import annotations

import random
import struct
import zipfile
from pathlib import Path

import pytest
from damaged_samples import copied, cut, flip, member_span
from made_checkpoints import call
from many_calls import call_many

VERDICTS = {
    "plain.pt": "intact",
    "weights.pt": "intact",
    "unreadable.pt": "intact",
    "dcp/step-3": "intact",
    "trainyard/step_00000002": "intact",
    "legacy.pt": "unknown",
    "nocrc.pt": "unknown",
    "weights.safetensors": "unknown",
    "dcp-safetensors": "unknown",
}


def test_a_sound_checkpoint_is_intact_only_where_the_format_has_checksums(torch_samples: Path) -> None:
    answers = call_many(["verify", torch_samples / name] for name in VERDICTS)
    for (name, verdict), answer in zip(VERDICTS.items(), answers, strict=True):
        assert (answer.code, answer.data["verdict"]) == (0 if verdict == "intact" else 1, verdict), name
        assert answer.checks("fail") == {}, name
        assert sum(part["bytes_read"] for part in answer.data["parts"]) > 0 or verdict == "unknown", name


def test_libraries_checkpoints_verify(transformers_samples: Path, lightning_samples: Path) -> None:
    assert call("verify", lightning_samples / "last.ckpt").data["verdict"] == "intact"
    trainer = call("verify", transformers_samples / "trainer" / "checkpoint-2").data
    assert trainer["verdict"] == "unknown", "its weights are safetensors, which has no checksum"
    statuses = {row["part"]: row["status"] for row in trainer["parts"]}
    assert (statuses["optimizer.pt"], statuses["model.safetensors"], statuses["config.json"]) == ("pass", "unknown", "skipped")
    assert call("verify", transformers_samples / "hf-sharded").data["fail"] == 0


def test_two_ranks_of_dcp_verify(two_rank_samples: Path) -> None:
    assert call("verify", two_rank_samples / "dcp-2").data["verdict"] == "intact"
    assert call("verify", two_rank_samples / "dcp-2-safetensors").data["verdict"] == "unknown"


@pytest.mark.parametrize(
    "name",
    ["plain.pt", "legacy.pt", "legacy-empty.pt", "weights.safetensors", "dcp/step-3/.metadata", "dcp/step-3/__0_0.distcp"],
)
def test_a_file_cut_short_anywhere_is_damaged(torch_samples: Path, tmp_path: Path, name: str) -> None:
    source = torch_samples / name
    size, place = source.stat().st_size, random.Random(name)
    lengths = [size - 1, size - 9, size // 2, 200, 30, place.randrange(40, size - 1)]
    made = []
    for number, length in enumerate(lengths):
        folder = tmp_path / str(number)
        folder.mkdir()
        made.append(copied(source.parent if name.startswith("dcp") else source, folder))
        cut(made[-1] / source.name if made[-1].is_dir() else made[-1], length)
    for length, answer in zip(lengths, call_many(["verify", path] for path in made), strict=True):
        assert (answer.code, answer.data["verdict"]) == (1, "damaged"), f"cut to {length} of {size}"
        assert len(answer.checks("fail")) >= 1


def test_one_flipped_bit_in_a_tensor_is_found_where_there_are_checksums(
    torch_samples: Path, lightning_samples: Path, tmp_path: Path
) -> None:
    for source in (torch_samples / "plain.pt", lightning_samples / "last.ckpt"):
        path = copied(source, tmp_path)
        begin, size = member_span(path, "data/0")
        flip(path, begin + size // 2, bit=3)
        answer = call("verify", path)
        assert (answer.code, answer.data["verdict"]) == (1, "damaged")
        assert "data/0" in answer.checks("fail")["checkpoint.intact"] and "CRC-32" in answer.checks("fail")["checkpoint.intact"]


def test_one_flipped_bit_in_a_tensor_of_dcp_is_found_and_the_tensor_is_named(two_rank_samples: Path, tmp_path: Path) -> None:
    folder = copied(two_rank_samples / "dcp-2", tmp_path)
    path = folder / "__1_0.distcp"
    begin = path.read_bytes().index(b"PK\x03\x04", 1)
    data = path.read_bytes()
    position = data.index(b"archive/data/0") + 200 if b"archive/data/0" in data else begin
    for at in range(position, len(data)):
        if data[at] not in (0, ord("Z")):
            break
    flip(path, at)
    answer = call("verify", folder)
    assert (answer.code, answer.data["verdict"]) == (1, "damaged")
    assert any(name in answer.checks("fail")["checkpoint.intact"] for name in ("uneven", "columns"))


def test_a_format_without_checksums_is_never_called_intact_when_a_bit_flips(torch_samples: Path, tmp_path: Path) -> None:
    ones = struct.pack("<f", 1.0) * 4  # the legacy file's storages are in the order of their addresses: find one by its values
    for name, position in (("weights.safetensors", lambda data: len(data) - 3), ("legacy.pt", lambda data: data.rindex(ones))):
        path = copied(torch_samples / name, tmp_path)
        flip(path, position(path.read_bytes()))
        assert call("verify", path).data["verdict"] == "unknown"


def test_every_flipped_bit_of_an_archive_outside_of_its_padding_is_found(torch_samples: Path, tmp_path: Path) -> None:
    path = copied(torch_samples / "weights.pt", tmp_path)
    original, source = path.read_bytes(), random.Random(7)
    spans = []
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
    for info in infos:
        begin, size = member_span(path, info.filename) if info.file_size else (0, 0)
        spans += range(begin, begin + size)
    flipped = [tmp_path / f"{number}.pt" for number in range(40)]
    for each in flipped:
        each.write_bytes(original)
        flip(each, source.choice(spans), source.randrange(8))
    assert {answer.data["verdict"] for answer in call_many(["verify", each] for each in flipped)} == {"damaged"}


def test_a_missing_shard_is_damage(transformers_samples: Path, two_rank_samples: Path, tmp_path: Path) -> None:
    folder = copied(transformers_samples / "hf-sharded", tmp_path)
    sorted(folder.glob("model-*.safetensors"))[0].unlink()
    dcp = copied(two_rank_samples / "dcp-2-safetensors", tmp_path)
    sorted(dcp.glob("shard-00001*.safetensors"))[0].unlink()
    for path in (folder, dcp):
        assert (call("verify", path).code, call("verify", path).data["verdict"]) == (1, "damaged")


def test_a_tensor_that_the_index_places_wrongly_is_named(transformers_samples: Path, tmp_path: Path) -> None:
    folder = copied(transformers_samples / "hf-sharded", tmp_path)
    first, second = sorted(folder.glob("model-*.safetensors"))[:2]
    first_bytes = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(first_bytes)
    answer = call("verify", folder)
    assert (answer.data["verdict"], "which does not hold it" in answer.checks("fail")["checkpoint.intact"]) == ("damaged", True)


def test_archives_of_two_tensors_that_changed_places_are_found(torch_samples: Path, tmp_path: Path) -> None:
    """Every CRC-32 is right, but the archives are not those that .metadata describes."""
    folder = copied(torch_samples / "dcp-twins", tmp_path)
    assert call("verify", folder).data["verdict"] == "intact"
    path = folder / "__0_0.distcp"
    data = path.read_bytes()
    path.write_bytes(data[len(data) // 2 :] + data[: len(data) // 2])
    answer = call("verify", folder)
    assert answer.data["verdict"] == "damaged"
    assert (
        "F32[3, 4]" in answer.checks("fail")["checkpoint.intact"] and "F32[2, 6]" in answer.checks("fail")["checkpoint.intact"]
    )


def test_options_for_trainyard_folders_are_refused_elsewhere(torch_samples: Path) -> None:
    for words in (["--step", "3"], ["--all"], ["--quick"]):
        answer = call("verify", torch_samples / "plain.pt", *words)
        assert (answer.code, answer.error) == (2, "usage")


def test_other_formats_are_read_without_torch_and_without_unpickling(torch_samples: Path, tmp_path: Path) -> None:
    blocked = "import pickle, sys\nsys.modules['torch'] = None\npickle.load = pickle.loads = pickle.Unpickler = None\n"
    (tmp_path / "sitecustomize.py").write_text(blocked)
    env = {"PYTHONPATH": str(tmp_path)}
    names = ("plain.pt", "legacy.pt", "dcp/step-3", "dcp-safetensors")
    answers = call_many(([verb, torch_samples / name] for verb in ("inspect", "verify", "tensors") for name in names), env=env)
    assert {answer.code for answer in answers} == {0, 1}
    assert call("compare", torch_samples / "weights.pt", torch_samples / "weights.safetensors", env=env).code == 0
