"""`export`: a verified Trainyard step in the layout of Hugging Face, which the stock readers read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from damaged_samples import copied, flip
from made_checkpoints import FORMAT, call, safetensors, tree, write_step
from many_calls import call_many
from safetensors import safe_open

from tests.training.forking import forked_run

FROM_PRETRAINED = """
import sys, warnings
warnings.simplefilter("ignore")
import torch
from transformers import GPT2LMHeadModel
saved = torch.load(sys.argv[1], weights_only=True)
for folder in sys.argv[2:]:
    model, info = GPT2LMHeadModel.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"], info
    assert all(torch.equal(tensor, saved[name]) for name, tensor in model.state_dict().items())
print(len(saved))
"""


def test_transformers_reads_an_exported_step_in_one_file_and_in_shards(transformers_samples: Path, tmp_path: Path) -> None:
    config = transformers_samples / "config" / "config.json"
    step = transformers_samples / "trainyard-gpt2"
    calls = [["export", step, tmp_path / name, "--config", config, *words] for name, words in EXPORTS.items()]
    for name, answer in zip(EXPORTS, call_many(calls), strict=True):
        assert (answer.code, answer.data["step"]) == (0, 1)
        assert (
            (len(answer.data["files"]) > 1)
            == (tmp_path / name / "model.safetensors.index.json").exists()
            == bool(EXPORTS[name])
        )
    words = [str(transformers_samples / "trainyard-gpt2.pt"), *(str(tmp_path / name) for name in EXPORTS)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = forked_run([sys.executable, "-c", FROM_PRETRAINED, *words], timeout=300, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 10


EXPORTS = {"one": [], "shards": ["--max-shard-size", "8KB"]}


def test_an_exported_step_equals_the_step_and_holds_model_weights_only(torch_samples: Path, tmp_path: Path) -> None:
    answer = call("export", torch_samples / "trainyard", tmp_path / "out", "--step", "1")
    assert answer.code == 0
    with safe_open(tmp_path / "out" / "model.safetensors", "numpy") as file:
        assert (set(file.keys()), file.metadata()) == ({"weight", "bias"}, {"format": "pt"})
    compared = call("compare", torch_samples / "trainyard" / "step_00000001", tmp_path / "out", "--prefix-a", "model.")
    assert (compared.code, compared.data["equal"]) == (0, 2)
    assert call("inspect", tmp_path / "out").data["kind"] == "huggingface"


def test_shards_are_named_and_indexed_as_hugging_face_does(torch_samples: Path, tmp_path: Path) -> None:
    answer = call("export", torch_samples / "trainyard", tmp_path / "out", "--max-shard-size", "100B")
    names = [
        "SHA256SUMS",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
    ]
    assert (answer.code, sorted(path.name for path in (tmp_path / "out").iterdir())) == (0, names)
    index = json.loads((tmp_path / "out" / names[3]).read_text())
    assert index == {"metadata": {"total_size": 288}, "weight_map": {"bias": names[1], "weight": names[2]}}
    assert call("verify", tmp_path / "out").data["fail"] == 0


def test_an_export_verifies_and_a_changed_byte_is_damage(tmp_path: Path) -> None:
    write_step(tmp_path / "run", 100)
    (tmp_path / "config.json").write_text('{"model_type": "x"}')
    words = ["--max-shard-size", "300B", "--config", tmp_path / "config.json"]
    answer = call("export", tmp_path / "run", tmp_path / "out", *words)
    assert f"wrote {tmp_path / 'out' / 'SHA256SUMS'}" in answer.document["changed"]
    assert subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=tmp_path / "out").returncode == 0
    assert (call("verify", tmp_path / "out").code, call("verify", tmp_path / "out").data["verdict"]) == (0, "intact")
    for name in ("model-00001-of-00002.safetensors", "config.json", "model.safetensors.index.json"):
        (tmp_path / f"to {name}").mkdir()
        changed = copied(tmp_path / "out", tmp_path / f"to {name}")
        flip(changed / name, -2)
        found = call("verify", changed)
        assert (found.code, found.data["verdict"]) == (1, "damaged"), name


def test_a_name_that_no_reader_takes_is_not_exported(tmp_path: Path) -> None:
    listed = {"model.__metadata__": {"dtype": "F32", "shape": [2]}}
    files = {
        FORMAT.shard_name(0, 2): safetensors({"model.__metadata__": ("F32", [2], bytes(8))}),
        FORMAT.shard_name(1, 2): safetensors({}),
    }
    folder = write_step(tmp_path / "run", 100, extra_files=files, sealed_with={"tensors": listed})
    answer = call("export", folder, tmp_path / "out")
    assert answer.code == 2 and "keeps for itself" in answer.document["error"]["message"] and not (tmp_path / "out").exists()
    assert call("export", folder, tmp_path / "out", "--prefix", "").code == 0, "control"


def test_a_sharded_tensor_is_put_together(tmp_path: Path) -> None:
    """Two ranks hold one half each of model.w, by columns: neither half is contiguous in the whole."""
    values = [[row * 10 + column for column in range(4)] for row in range(3)]

    def shard(first: int) -> bytes:
        part = b"".join(value.to_bytes(4, "little") for row in values for value in row[first : first + 2])
        plain = safetensors({"model.w": ("I32", [3, 2], part)})
        header = json.loads(plain[8 : 8 + int.from_bytes(plain[:8], "little")])
        header["__metadata__"] = {"DCP_SHARDING_INFO": json.dumps({"model.w": {"saved_offsets": [0, first]}})}
        text = json.dumps(header).encode()
        return len(text).to_bytes(8, "little") + text + part

    files = {f"shard-{rank + 1:05d}-model-00001-of-00001.safetensors": shard(2 * rank) for rank in range(2)}
    write_step(
        tmp_path / "run", 100, extra_files=files, sealed_with={"tensors": {"model.w": {"dtype": "I32", "shape": [3, 4]}}}
    )
    assert call("export", tmp_path / "run", tmp_path / "out").code == 0
    data = (tmp_path / "out" / "model.safetensors").read_bytes()
    assert data[-48:] == b"".join(value.to_bytes(4, "little") for row in values for value in row)


def test_a_step_that_does_not_verify_is_not_exported(torch_samples: Path, tmp_path: Path) -> None:
    root = copied(torch_samples / "trainyard", tmp_path)
    shard = next((root / "step_00000002").glob("*.safetensors"))
    flip(shard, shard.stat().st_size - 1)
    for words in ([root / "step_00000002"], [root, "--step", "2"]):
        answer = call("export", words[0], tmp_path / "out", *words[1:])
        assert (answer.code, list(answer.checks("fail"))) == (2, ["checkpoint.step_00000002"])
    answer = call("export", root, tmp_path / "out")
    assert (answer.code, answer.data["step"]) == (0, 1), "without --step: the newest that verifies"
    assert "differs" in answer.checks("warn")["checkpoint.step_00000002"], "and which newer one does not"


def test_a_type_that_is_stored_as_another_one_is_not_exported_as_that_one(tmp_path: Path) -> None:
    listed = {"model.w0": {"dtype": "F32", "shape": [64], "as": "complex64"}, "model.w1": {"dtype": "F32", "shape": [64]}}
    folder = write_step(tmp_path, 100, sealed_with={"tensors": listed})
    answer = call("export", folder, tmp_path / "out")
    assert answer.code == 2 and "model.w0 is complex64, which is not exported" in answer.document["error"]["message"]
    assert "trainyard.load_weights" in answer.document["error"]["hint"] and not (tmp_path / "out").exists()


def test_nothing_is_overwritten_left_behind_or_written_by_a_dry_run(torch_samples: Path, tmp_path: Path) -> None:
    dry = call("export", torch_samples / "trainyard", tmp_path / "out", "--dry-run")
    assert (dry.code, dry.document["changed"], dry.data["tensors"], tree(tmp_path)) == (0, [], 2, {})
    (tmp_path / "out").mkdir()
    answer = call("export", torch_samples / "trainyard", tmp_path / "out")
    assert (answer.code, answer.error, tree(tmp_path)) == (5, "conflict", {"out": ""})
    for words in (["--prefix", "nothing."], ["--max-shard-size", "much"], ["--config", tmp_path / "none.json"]):
        assert call("export", torch_samples / "trainyard", tmp_path / "new", *words).code == 2
    assert tree(tmp_path) == {"out": ""}


def test_a_full_disk_leaves_nothing_behind(torch_samples: Path, tmp_path: Path) -> None:
    # Python would keep the first hundred bytes of a module, and no later start could import it.
    small = ["env", "PYTHONDONTWRITEBYTECODE=1", "prlimit", "--fsize=100"]
    answer = call("export", torch_samples / "trainyard", tmp_path / "out", before=small)
    assert (answer.code, answer.error, tree(tmp_path)) == (8, "unreachable", {})
    answer = call("convert", torch_samples / "weights.pt", tmp_path / "out.safetensors", before=small)
    assert (answer.code, answer.error, tree(tmp_path)) == (8, "unreachable", {})
