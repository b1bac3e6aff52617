"""Every file of a folder is judged or listed as not judged; what is not there, or there twice, is said; formats are told apart."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import subprocess
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from damaged_samples import copied, flip, state_dict, tensor, text, torch_zip
from made_checkpoints import call, safetensors, write_step
from many_calls import call_many

ONES = ("F32", [2], bytes(8))
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 548118077\n"


def plain(names: dict[str, tuple[str, list[int], bytes]], metadata: dict[str, str] | None = None) -> bytes:
    """A safetensors file without a place for its blocks."""
    header: dict[str, Any] = {"__metadata__": metadata or {"format": "pt"}}
    at = 0
    for name, (dtype, shape, data) in names.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    return framed(json.dumps(header).encode(), b"".join(data for _, _, data in names.values()))


def framed(header: bytes, data: bytes) -> bytes:
    return len(header).to_bytes(8, "little") + header + data


def hugging_face(folder: Path) -> Path:
    """Two shards and their index."""
    folder.mkdir(parents=True)
    shards = {f"model-0000{number}-of-00002.safetensors": f"w{number}" for number in (1, 2)}
    for file, name in shards.items():
        (folder / file).write_bytes(plain({name: ONES}))
    index = {"metadata": {"total_size": 16}, "weight_map": {name: file for file, name in shards.items()}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text("{}")
    return folder


def statuses(answer: Any) -> dict[str, str]:
    return {row["part"]: row["status"] for row in answer.data["parts"]}


def test_a_file_of_the_folder_that_nobody_can_read_leaves_the_answer_open(tmp_path: Path) -> None:
    archive = torch_zip(tmp_path / "w.pt", state_dict(("w", tensor("0", (2,), (1,), 2))), {"0": bytes(8)})
    folder = tmp_path / "bins"
    folder.mkdir()
    archive.rename(folder / "pytorch_model.bin")
    (folder / "README.md").write_text("words")
    answer = call("verify", folder)
    assert (answer.code, answer.data["verdict"]) == (0, "intact"), "control: text is read, and listed"
    assert statuses(answer)["README.md"] == "skipped"
    (folder / "scheduler.state").write_bytes(os.urandom(64) + b"\xff\x00")
    answer = call("verify", folder)
    assert (answer.code, answer.data["verdict"], statuses(answer)["scheduler.state"]) == (1, "unknown", "unknown")
    (folder / "scheduler.state").unlink()
    (folder / "deeper").mkdir()
    torch_zip(folder / "deeper" / "ema.pt", b"\x80\x02}.")
    flip(folder / "deeper" / "ema.pt", 45)
    answer = call("verify", folder)
    assert (answer.code, answer.data["verdict"], statuses(answer)["deeper/ema.pt"]) == (1, "damaged", "fail")


def test_files_that_a_manifest_does_not_list_are_said_not_to_be_judged(tmp_path: Path) -> None:
    step = write_step(tmp_path, 100)
    write_step(tmp_path, 50)
    assert call("verify", tmp_path, "--step", "100").checks("warn") == {}, "control"
    (step / "extra.bin").write_bytes(b"\xff")
    answer = call("verify", tmp_path)
    assert (answer.code, answer.data["not_judged"]) == (0, ["step_00000050"])
    assert "extra.bin" in answer.checks("warn")["unlisted.step_00000100"]
    assert statuses(call("verify", step)) == {"step_00000100": "pass", "extra.bin": "skipped"}


@pytest.mark.parametrize("what", ["link", "pointer", "web page", "pipe", "gone"])
def test_what_stands_in_the_place_of_a_file_is_missing(tmp_path: Path, what: str) -> None:
    folder = hugging_face(tmp_path / "hf")
    assert (call("inspect", folder).code, call("verify", folder).data["verdict"]) == (0, "unknown"), "control"
    shard = folder / "model-00002-of-00002.safetensors"
    shard.unlink()
    match what:
        case "link":
            shard.symlink_to("../blobs/gone")
        case "pointer":
            shard.write_bytes(POINTER)
        case "web page":
            shard.write_bytes(b"<!DOCTYPE html><html><body>404</body></html>")
        case "pipe":
            os.mkfifo(shard)
    inspected, verified = call_many([verb, folder] for verb in ("inspect", "verify"))
    assert (inspected.code, verified.code, verified.data["verdict"]) == (1, 1, "damaged")
    (missing,) = inspected.data["missing"]
    assert (
        missing.startswith(shard.name)
        and {"link": "a link to nothing", "pointer": "git lfs pull", "web page": "a web page"}.get(what, "") in missing
    )
    assert "checkpoint.complete" in inspected.checks("fail")


def test_a_pointer_alone_is_no_checkpoint(tmp_path: Path) -> None:
    for name in ("model.safetensors", "model.pt", "pytorch_model.bin"):
        (tmp_path / name).write_bytes(POINTER)
        inspected, verified = call("inspect", tmp_path / name), call("verify", tmp_path / name)
        assert (inspected.data["kind"], verified.data["verdict"]) == ("unknown", "damaged")
        assert "git lfs pull" in verified.checks("fail")["checkpoint.intact"]


def test_one_tensor_in_two_shards_is_damage(tmp_path: Path) -> None:
    folder = hugging_face(tmp_path / "hf")
    (folder / "model-00002-of-00002.safetensors").write_bytes(plain({"w2": ONES, "w1": ONES}))
    answer = call("verify", folder)
    assert answer.data["verdict"] == "damaged" and "w1 is there twice" in str(answer.document)
    for verb in (["tensors", folder], ["compare", folder, folder]):
        refused = call(*verb)
        assert (refused.code, "w1 is there twice" in refused.document["error"]["message"]) == (2, True)
    bins = tmp_path / "bins"
    bins.mkdir()
    for number in (1, 2):
        torch_zip(
            bins / f"pytorch_model-0000{number}-of-00002.bin", state_dict(("w", tensor("0", (2,), (1,), 2))), {"0": bytes(8)}
        )
    answer = call("verify", bins)
    assert answer.data["verdict"] == "damaged" and "w is there twice" in str(answer.document)


def test_one_name_twice_in_a_file_is_damage(tmp_path: Path) -> None:
    entry = '"w":{"dtype":"F32","shape":[2],"data_offsets":[%d,%d]}'
    twice = ("{" + entry % (0, 8) + "," + entry % (8, 16) + "}").encode()
    spaced = ('{"w": {"shape": [2], "dtype": "F32", "data_offsets": [0, 8]}, ' + entry % (8, 16) + "}").encode()
    escaped = ("{" + (entry % (0, 8)).replace('"w"', '"\\u0077"') + "," + entry % (8, 16) + "}").encode()
    for number, header in enumerate((twice, spaced, escaped)):
        (tmp_path / f"{number}.safetensors").write_bytes(framed(header, bytes(16)))
    w = tensor("0", (2,), (1,), 2)
    torch_zip(tmp_path / "table.pt", state_dict(("w", w), ("w", w)), {"0": bytes(8)})
    with zipfile.ZipFile(torch_zip(tmp_path / "member.pt", state_dict(("w", w)), {"0": bytes(8)}), "a") as archive:
        archive.writestr("data/0", b"another!")
    with (
        pytest.warns(UserWarning, match="Duplicate name"),
        zipfile.ZipFile(torch_zip(tmp_path / "same.pt", b"\x80\x02}."), "a") as archive,
    ):
        archive.writestr("archive/data.pkl", state_dict(("w", w)))
    for path in sorted(tmp_path.iterdir()):
        inspected, verified, listed = call_many([verb, path] for verb in ("inspect", "verify", "tensors"))
        assert (inspected.code, verified.code, verified.data["verdict"], listed.code) == (1, 1, "damaged", 2), path.name


def test_the_other_formats_are_told_apart(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "asr.nemo", "w") as tar:
        for name, data in (("./model_config.yaml", b"a: 1"), ("./model_weights.ckpt", b"PK")):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    for name, members in {
        "serve.mar": ["MAR-INF/MANIFEST.json", "handler.py"],
        "a.npz": ["x.npy"],
        "m.keras": ["metadata.json", "config.json"],
    }.items():
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for member in members:
                archive.writestr(member, "{}")
    marks = {
        "m.gguf": b"GGUF\x03\0\0\0" + bytes(64),
        "m.h5": b"\x89HDF\r\n\x1a\n" + bytes(64),
        "m.onnx": b"\x08\x07\x12\x07pytorch",
        "z.nemo": b"\x1f\x8b\x08" + bytes(64),
    }
    for name, data in marks.items():
        (tmp_path / name).write_bytes(data)
    like = {
        "asr.nemo": "nemo",
        "serve.mar": "mar",
        "a.npz": "npz",
        "m.keras": "keras",
        "m.gguf": "gguf",
        "m.h5": "hdf5",
        "m.onnx": "onnx",
        "z.nemo": "gzip",
    }
    answers = iter(call_many([verb, tmp_path / name] for name in like for verb in ("inspect", "verify", "tensors")))
    for name, expected in like.items():
        inspected, verified, listed = next(answers), next(answers), next(answers)
        assert (inspected.code, inspected.data["kind"], inspected.data["named_like"]) == (1, "unknown", expected), name
        assert (verified.code, verified.data["verdict"], listed.code) == (1, "unknown", 2), name


def test_old_pickles_are_read_or_not_known_and_never_intact(tmp_path: Path) -> None:
    for protocol in range(6):
        (tmp_path / f"{protocol}.pkl").write_bytes(pickle.dumps({"step": 1, "values": [1.5, (None, True)]}, protocol))
    for path in sorted(tmp_path.iterdir()):
        inspected, verified = call_many([verb, path] for verb in ("inspect", "verify"))
        assert (inspected.data["kind"], verified.data["verdict"]) == ("pickle", "unknown"), path.name


def test_small_and_new_types_are_listed_and_not_called_damaged(tmp_path: Path) -> None:
    types = {"F4": ([4, 4], 8), "F6_E2M3": ([8], 6), "F6_E3M2": ([8], 6), "F8_E8M0": ([5], 5), "F9_NEW": ([3], 7)}
    path = tmp_path / "model.safetensors"
    path.write_bytes(plain({name: (name, shape, bytes(size)) for name, (shape, size) in types.items()}))
    listed = {row["tensor"]: row for row in call("tensors", path).data["tensors"]}
    assert {name: row["dtype"] for name, row in listed.items()} == {name: name for name in types}
    assert {name for name, row in listed.items() if "note" in row} == {"F4", "F6_E2M3", "F6_E3M2", "F9_NEW"}
    assert (call("inspect", path).code, call("verify", path).data["verdict"]) == (0, "unknown")
    same = call("compare", path, path)
    assert (same.code, same.data["equal"], same.data["unreadable"], list(same.checks("unknown"))) == (
        1,
        1,
        4,
        ["compare.equal"],
    )
    path.write_bytes(plain({"F4": ("F4", [4, 4], bytes(7))}))
    assert call("verify", path).data["verdict"] == "damaged", "sizes that are known are checked"


def test_digests_beside_the_files_prove_them(tmp_path: Path) -> None:
    folder = hugging_face(tmp_path / "hf")
    subprocess.run(["sh", "-c", "sha256sum *.safetensors *.json > SHA256SUMS"], cwd=folder, check=True)
    assert call("verify", folder).data["verdict"] == "intact"
    assert call("verify", folder / "model-00001-of-00002.safetensors").data["verdict"] == "intact"
    for change in ("byte", "gone", "text", "unlisted"):
        changed = copied(folder, tmp_path / change) if (tmp_path / change).mkdir() is None else folder
        match change:
            case "byte":
                flip(changed / "model-00001-of-00002.safetensors", -1)
            case "gone":
                (changed / "config.json").unlink()
            case "text":
                (changed / "SHA256SUMS").write_text("no digests\n")
            case "unlisted":
                (changed / "other.safetensors").write_bytes(plain({"x": ONES}))
        expected = "unknown" if change == "unlisted" else "damaged"
        assert (call("verify", changed).code, call("verify", changed).data["verdict"]) == (1, expected), change


def test_a_digest_cannot_point_out_of_its_folder(tmp_path: Path) -> None:
    folder = hugging_face(tmp_path / "hf")
    (tmp_path / "secret").write_text("x")
    for name in ("../secret", str(tmp_path / "secret"), "a/../../secret"):
        (folder / "SHA256SUMS").write_text(f"{hashlib.sha256(b'x').hexdigest()}  {name}\n")
        answer = call("verify", folder)
        assert (answer.data["verdict"], statuses(answer)["SHA256SUMS"]) == ("damaged", "fail")


def test_dcp_that_describes_a_tensor_twice_is_damaged(torch_samples: Path, tmp_path: Path) -> None:
    folder = copied(torch_samples / "dcp-twins", tmp_path)
    data = (folder / ".metadata").read_bytes()
    name = text("a") if text("a") in data else b"\x8c\x01a"
    (folder / ".metadata").write_bytes(data.replace(text("b"), name).replace(b"\x8c\x01b", name))
    for verb in ("inspect", "verify"):
        assert call(verb, folder).code == 1
    assert "twice" in str(call("verify", folder).document)


def test_a_trainyard_shard_has_its_place_in_every_verb(tmp_path: Path) -> None:
    """Control for the headers read as tables: what a run writes is still read."""
    (tmp_path / "x.safetensors").write_bytes(
        safetensors({"model.w": ("F32", [2], bytes(8)), "ünï": ("BF16", [1, 2], bytes(4))})
    )
    listed = call("tensors", tmp_path / "x.safetensors").data["tensors"]
    assert [(row["tensor"], row["shape"]) for row in listed] == [("model.w", [2]), ("ünï", [1, 2])]
