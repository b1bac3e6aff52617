"""`convert` says what it leaves out, and writes nothing that no reader takes, nor more than the input can hold."""

from __future__ import annotations

import pickle
from pathlib import Path

from damaged_samples import state_dict, tensor, text, torch_zip
from made_checkpoints import call
from many_calls import call_many
from safetensors import safe_open

W = tensor("0", (2, 2), (2, 1), 4)
BYTES = {"0": bytes(16)}
SPARSE = b"ctorch._utils\n_rebuild_sparse_tensor\n(ctorch\nsparse_coo\n(" + W + W + b"K\x02K\x02\x86ttR"


def test_a_tensor_that_is_left_out_is_exit_1_and_named(tmp_path: Path) -> None:
    sparse = torch_zip(tmp_path / "sparse.pt", state_dict(("w", W), ("adjacency", SPARSE)), BYTES)
    reserved = torch_zip(tmp_path / "reserved.pt", state_dict(("w", W), ("__metadata__", W)), BYTES)
    for path, name in ((sparse, "adjacency"), (reserved, "__metadata__")):
        out = path.with_suffix(".safetensors")
        for words in (["--dry-run"], []):
            answer = call("convert", path, out, *words)
            assert (answer.code, answer.data["total_left_out"], answer.data["left_out"][0]["name"]) == (1, 1, name)
            assert name in answer.checks("fail")["convert.complete"]
        with safe_open(out, "numpy") as file:
            assert set(file.keys()) == {"w"}
    assert call("convert", sparse, tmp_path / "w.safetensors", "--prefix", "w").code == 2, "control: nothing is called so"


def test_what_is_no_tensor_is_listed_and_no_loss(tmp_path: Path) -> None:
    path = torch_zip(
        tmp_path / "a.pt", b"\x80\x02}(" + text("step") + b"K\x07" + text("model") + b"}" + text("w") + W + b"su.", BYTES
    )
    answer = call("convert", path, tmp_path / "out.safetensors")
    assert (answer.code, answer.data["left_out"]) == (0, [{"name": "step", "is": "int"}])
    answer = call("convert", path, tmp_path / "part.safetensors", "--prefix", "model.")
    assert (answer.code, answer.data["tensors"]) == (0, 1)


def test_a_file_of_nothing_but_a_reserved_name_is_refused(tmp_path: Path) -> None:
    path = torch_zip(tmp_path / "a.pt", state_dict(("__metadata__", W)), BYTES)
    answer = call("convert", path, tmp_path / "out.safetensors")
    assert answer.code == 2 and "keeps for itself" in answer.document["error"]["message"]
    surrogate = b"\x80\x02}(" + b"V\\ud800x\n" + W + text("w") + W + b"u."
    answer = call("convert", torch_zip(tmp_path / "b.pt", surrogate, BYTES), tmp_path / "out.safetensors")
    assert (answer.code, answer.data["tensors"]) == (1, 1) and "not Unicode" in answer.checks("fail")["convert.complete"]


def test_views_that_repeat_elements_are_refused_by_size(tmp_path: Path) -> None:
    """One element as a trillion, and a gigabyte as many views of one storage."""
    huge = torch_zip(tmp_path / "huge.pt", state_dict(("w", tensor("0", (10**12,), (0,), 4))), BYTES)
    many = torch_zip(tmp_path / "many.pt", state_dict(*((f"w{n}", tensor("0", (1 << 24,), (0,), 4)) for n in range(20))), BYTES)
    small = torch_zip(tmp_path / "small.pt", state_dict(("w", tensor("0", (1000, 4), (0, 1), 4))), BYTES)
    words = [["convert", path, path.with_suffix(".safetensors")] for path in (huge, many, small)]
    words += [["compare", huge, huge]]
    for answer, name in zip(
        call_many(words, before=["prlimit", f"--as={2 << 30}"]), ("4.0 TB", "1.3 GB", None, None), strict=True
    ):
        if name:
            assert (answer.code, answer.error) == (2, "usage") and name in answer.document["error"]["message"]
    assert not huge.with_suffix(".safetensors").exists() and small.with_suffix(".safetensors").stat().st_size > 16_000
    assert answer.code == 1 and answer.data["unreadable"] == 1


def test_the_help_says_what_accept_lifts_and_what_it_never_does(tmp_path: Path) -> None:
    """And it does that: a class that nobody knows, never a name that runs code."""
    path = torch_zip(tmp_path / "a.pt", b"\x80\x02}(" + text("w") + W + text("c") + b"ctrain\nConfig\n)\x81u.", BYTES)
    refused = call("convert", path, tmp_path / "out.safetensors")
    assert (refused.code, "--accept train.Config" in refused.document["error"]["hint"]) == (2, True)
    assert call("convert", path, tmp_path / "out.safetensors", "--accept", "train.Config").code == 0
    code = torch_zip(tmp_path / "b.pt", pickle.dumps({"f": print}, 4), BYTES)
    assert call("convert", code, tmp_path / "no.safetensors", "--accept", "builtins.print").code == 2
