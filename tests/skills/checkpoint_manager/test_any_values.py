"""`tensors`, `compare` and `convert`: names, shapes and values of every format, against what torch itself says."""

from __future__ import annotations

import hashlib
import json
import math
import struct
from pathlib import Path
from typing import Any

import pytest
from damaged_samples import copied, flip, member_span
from made_checkpoints import call, safetensors
from many_calls import call_many
from safetensors import safe_open

TORCH_NAMES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "U16": "uint16",
    "BOOL": "bool",
    "C64": "complex64",
}


def header_of(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header: dict[str, Any] = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    for entry in header.values():
        begin, end = entry["data_offsets"]
        entry["sha256"] = hashlib.sha256(data[8 + length + begin : 8 + length + end]).hexdigest()
    return header


@pytest.mark.parametrize("name", ["plain", "legacy"])
def test_tensors_are_those_that_torch_saved(torch_samples: Path, name: str) -> None:
    expected = json.loads((torch_samples / "expected.json").read_text())[name]
    data = call("tensors", torch_samples / f"{name}.pt", "--others").data
    listed = {row["tensor"]: (f"torch.{TORCH_NAMES[row['dtype']]}", row["shape"]) for row in data["tensors"]}
    assert listed == {key: (each["dtype"], each["shape"]) for key, each in expected.items()}
    assert data["total"] == len(expected)
    others = {row["name"]: row["is"] for row in data["others"]}
    assert (others["step"], others["list.1.1"], others["odd keys.a.b"]) == ("int", "str", "float")


@pytest.mark.parametrize("name", ["plain", "legacy"])
def test_convert_writes_the_bytes_that_torch_would(torch_samples: Path, tmp_path: Path, name: str) -> None:
    """Transposed, sliced, repeated, 0-d and empty tensors, and one storage under several of them."""
    out = tmp_path / "out.safetensors"
    answer = call("convert", torch_samples / f"{name}.pt", out)
    assert (answer.code, answer.document["changed"]) == (0, [f"wrote {out}"])
    expected = json.loads((torch_samples / "expected.json").read_text())[name]
    written = header_of(out)
    assert {key: (f"torch.{TORCH_NAMES[each['dtype']]}", each["shape"], each["sha256"]) for key, each in written.items()} == {
        key: (each["dtype"], each["shape"], each["sha256"]) for key, each in expected.items()
    }
    assert {row["name"] for row in answer.data["left_out"]} >= {"step", "list.1.1", "odd keys.a.b", "ordered.x"}
    with safe_open(out, "numpy") as file:
        assert set(file.keys()) == set(expected), "the library itself reads it"


def test_convert_takes_one_part_and_drops_its_prefix(lightning_samples: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    answer = call("convert", lightning_samples / "last.ckpt", out, "--prefix", "state_dict.", "--limit", "1000")
    assert answer.code == 0
    assert set(header_of(out)) == {"layer.weight", "layer.bias"}
    assert any(row["name"].startswith("optimizer_states.") for row in answer.data["left_out"])
    compared = call("compare", lightning_samples / "weights.ckpt", out, "--prefix-a", "state_dict.")
    assert (compared.code, compared.data["equal"]) == (0, 2)


def test_convert_never_overwrites_and_a_dry_run_writes_nothing(torch_samples: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    dry = call("convert", torch_samples / "weights.pt", out, "--dry-run")
    assert (dry.code, dry.document["changed"], list(tmp_path.iterdir())) == (0, [], [])
    out.write_text("mine")
    answer = call("convert", torch_samples / "weights.pt", out)
    assert (answer.code, answer.error, out.read_text()) == (5, "conflict", "mine")
    assert call("convert", torch_samples / "weights.pt", tmp_path / "none" / "out.safetensors").code == 3


def test_convert_refuses_what_is_damaged_and_what_holds_no_tensor(torch_samples: Path, tmp_path: Path) -> None:
    path = copied(torch_samples / "weights.pt", tmp_path)
    begin, _ = member_span(path, "data/3")
    flip(path, begin)
    answer = call("convert", path, tmp_path / "out.safetensors")
    assert (answer.code, "CRC-32" in answer.document["error"]["message"]) == (2, True)
    for name in ("unreadable.pt", "script.pt", "weights.safetensors"):
        assert call("convert", torch_samples / name, tmp_path / "out.safetensors").code == 2
    assert list(tmp_path.iterdir()) == [path], "nothing is left behind"


def test_tensors_of_every_format(torch_samples: Path, two_rank_samples: Path, transformers_samples: Path) -> None:
    shapes = {
        torch_samples / "dcp" / "step-3": {"model.weight": [8, 8], "optimizer.state.0.exp_avg": [8, 8]},
        torch_samples / "dcp-safetensors": {"weight": [8, 8]},
        torch_samples / "trainyard": {"model.weight": [8, 8], "optimizer.state.bias.exp_avg": [8]},
        torch_samples / "weights.safetensors": {"bf16": [3, 5]},
        two_rank_samples / "dcp-2": {"uneven": [5, 3], "columns": [4, 6], "scalar": []},
        two_rank_samples / "dcp-2-safetensors": {"uneven": [5, 3], "columns": [4, 6], "scalar": []},
        transformers_samples / "hf-sharded": {"transformer.wpe.weight": [16, 16]},
    }
    answers = call_many(["tensors", path] for path in shapes)
    for (path, expected), answer in zip(shapes.items(), answers, strict=True):
        listed = {row["tensor"]: row["shape"] for row in answer.data["tensors"]}
        assert {name: listed.get(name) for name in expected} == expected, path
    unreadable = call("tensors", torch_samples / "unreadable.pt").data["tensors"]
    assert {row["tensor"]: row["note"].split(":")[0] for row in unreadable} == {
        "sparse": "sparse",
        "meta": "without values (meta)",
        "conj": "a conjugate or negative view",
    }


def test_the_list_is_bounded_with_true_totals(torch_samples: Path) -> None:
    answer = call("tensors", torch_samples / "weights.safetensors", "--limit", "2")
    assert (len(answer.data["tensors"]), answer.data["total"], answer.document["truncated"]) == (2, 13, True)
    assert answer.data["size_bytes"] == sum(row["bytes"] for row in answer.data["dtypes"])
    assert call("tensors", torch_samples / "weights.safetensors", "--prefix", "bf").data["total"] == 1


EQUAL = [
    ("weights.pt", "weights.safetensors", []),
    ("trainyard/step_00000002", "trainyard-2.pt", ["--prefix-a", "model."]),
    ("trainyard", "trainyard-2.pt", ["--prefix-a", "model."]),
    ("dcp/step-3", "dcp-safetensors", ["--prefix-a", "model."]),
]


def test_the_same_weights_in_two_formats_are_equal(torch_samples: Path) -> None:
    answers = call_many(["compare", torch_samples / a, torch_samples / b, *words] for a, b, words in EQUAL)
    for (a, b, _), answer in zip(EQUAL, answers, strict=True):
        assert (answer.code, answer.data["equal"]) == (0, answer.data["total"]), (a, b)
        assert answer.data["total"] > 0


def test_tensors_sharded_over_two_ranks_are_assembled(two_rank_samples: Path) -> None:
    for folder in ("dcp-2", "dcp-2-safetensors"):
        answer = call("compare", two_rank_samples / folder, two_rank_samples / "dcp-2.pt")
        assert (answer.code, answer.data["equal"], answer.data["total"]) == (0, 4, 4)


def test_two_steps_of_a_run_differ_where_training_changed_them(torch_samples: Path) -> None:
    root = torch_samples / "trainyard"
    answer = call("compare", root / "step_00000001", root / "step_00000002")
    assert (answer.code, answer.data["values"]) == (1, 1)
    (row,) = answer.data["tensors"]
    assert (row["tensor"], row["differs"], row["differing"]) == ("model.weight", "values", 64)
    assert math.isclose(row["max_abs"], 2.0, rel_tol=1e-5)


def pack(dtype: str, values: list[Any]) -> bytes:
    if dtype == "BF16":
        return b"".join(struct.pack("<f", value)[2:] for value in values)
    if dtype == "F8_E4M3":
        return bytes(values)
    letter = {"F64": "d", "F32": "f", "F16": "e", "I64": "q", "I32": "i", "U8": "B", "BOOL": "B", "U64": "Q"}[dtype]
    return struct.pack(f"<{len(values)}{letter}", *values)


DIFFERENCES = [
    ("F32", [1.0, 2.0, 3.0], [1.0, 2.5, 3.0], 1, 0.5, 0),
    ("F64", [1e300, 1.0], [-1e300, 1.0], 1, 2e300, 0),
    ("F16", [1.0, 2.0], [1.0, 2.0], 0, None, 0),
    ("BF16", [1.0, -2.0, 4.0], [1.5, -2.0, 3.0], 2, 1.0, 0),
    ("F8_E4M3", [0x38, 0x40, 0x01], [0x38, 0x48, 0x00], 2, 2.0, 0),
    ("I64", [2**62, 5], [-(2**62), 5], 1, 2**63, 0),
    ("I64", [2**53 + 1], [2**53], 1, 1, 0),
    ("U64", [2**64 - 1], [0], 1, 2**64 - 1, 0),
    ("U8", [0, 255], [255, 255], 1, 255, 0),
    ("BOOL", [0, 1, 1], [1, 1, 0], 2, 1, 0),
    ("F32", [math.nan, 1.0], [math.nan, 1.0], 0, None, 0),
    ("F32", [math.nan, 1.0], [0.0, 1.0], 1, None, 1),
    ("F32", [math.inf, 1.0], [1.0, 3.0], 2, 2.0, 1),
    ("F32", [0.0], [-0.0], 1, 0.0, 0),
]


def test_differences_are_measured(tmp_path: Path) -> None:
    paths = [(tmp_path / f"{number}-a.safetensors", tmp_path / f"{number}-b.safetensors") for number in range(len(DIFFERENCES))]
    for pair, (dtype, *both, _, _, _) in zip(paths, DIFFERENCES, strict=True):
        for path, values in zip(pair, both, strict=True):
            path.write_bytes(safetensors({"t": (dtype, [len(values)], pack(dtype, values))}))
    answers = call_many(["compare", *pair] for pair in paths)
    for answer, (dtype, a, b, differing, max_abs, not_finite) in zip(answers, DIFFERENCES, strict=True):
        if differing:
            (row,) = answer.data["tensors"]
            told = (answer.code, row["differing"], row["max_abs"], row["not_finite"])
            assert told == (1, differing, max_abs, not_finite), (dtype, a, b)
        else:
            assert (answer.code, answer.data["equal"]) == (0, 1), (dtype, a, b)


def test_what_is_only_in_one_and_what_has_another_shape_or_dtype_is_told_apart(tmp_path: Path) -> None:
    a = {
        "only a": ("F32", [1], pack("F32", [1.0])),
        "shape": ("F32", [2, 1], pack("F32", [1.0, 2.0])),
        "dtype": ("F32", [2], pack("F32", [1.0, 2.03])),
    }
    b = {
        "only b": ("F32", [1], pack("F32", [1.0])),
        "shape": ("F32", [2], pack("F32", [1.0, 2.0])),
        "dtype": ("BF16", [2], pack("BF16", [1.0, 2.0])),
    }
    (tmp_path / "a.safetensors").write_bytes(safetensors(a))
    (tmp_path / "b.safetensors").write_bytes(safetensors(b))
    answer = call("compare", tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    assert answer.code == 1
    assert {row["tensor"]: row["differs"] for row in answer.data["tensors"]} == {
        "only a": "only in A",
        "only b": "only in B",
        "shape": "shape",
        "dtype": "dtype",
    }
    dtype = next(row for row in answer.data["tensors"] if row["differs"] == "dtype")
    assert (dtype["differing"], math.isclose(dtype["max_abs"], 0.03, rel_tol=1e-5)) == (1, True)


def test_a_compare_that_cannot_be_made_says_why(torch_samples: Path, tmp_path: Path) -> None:
    weights = torch_samples / "weights.safetensors"
    assert call("compare", weights, tmp_path / "none").code == 3
    answer = call("compare", weights, weights, "--prefix-a", "nothing.")
    assert (answer.code, "begins with 'nothing.'" in answer.document["error"]["message"]) == (2, True)
    unreadable = call("compare", torch_samples / "unreadable.pt", torch_samples / "unreadable.pt")
    assert (unreadable.code, unreadable.data["unreadable"], list(unreadable.checks("unknown"))) == (1, 3, ["compare.equal"])


def test_a_header_that_claims_too_much_is_damaged(tmp_path: Path) -> None:
    for number, shape in enumerate([[2**40], [2**31, 2**31], [10**18, 10**18], [-1], ["1"], [True], [1] * 1000]):
        header = json.dumps({"t": {"dtype": "F32", "shape": shape, "data_offsets": [0, 4]}}).encode()
        (tmp_path / f"{number}.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    answers = call_many(["verify", path] for path in sorted(tmp_path.iterdir()))
    assert [answer.data["verdict"] for answer in answers] == ["damaged"] * 7
