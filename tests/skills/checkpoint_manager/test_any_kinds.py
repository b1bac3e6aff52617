"""`inspect` says what a checkpoint is, with evidence, step, sizes and what is missing; what it does not know is `unknown`."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import tarfile
import zipfile
from pathlib import Path

from damaged_samples import copied, cut
from made_checkpoints import call, write_step, write_tiers
from many_calls import call_many

TORCH_KINDS = {
    "plain.pt": "torch-zip",
    "legacy.pt": "torch-legacy",
    "nocrc.pt": "torch-zip",
    "script.pt": "torchscript",
    "weights.safetensors": "safetensors",
    "dcp/step-3": "dcp",
    "dcp": "collection",
    "dcp-safetensors": "dcp-safetensors",
    "trainyard": "trainyard-checkpoints",
    "trainyard/step_00000002": "trainyard-step",
    ".": "collection",
}


def test_what_torch_and_trainyard_wrote_is_recognised(torch_samples: Path) -> None:
    answers = call_many(["inspect", torch_samples / name] for name in TORCH_KINDS)
    for (name, kind), answer in zip(TORCH_KINDS.items(), answers, strict=True):
        assert (answer.code, answer.data["kind"]) == (0, kind), name
        assert answer.data["evidence"], name
        path = torch_samples / name
        files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
        if kind not in ("trainyard-checkpoints", "collection"):  # their own small files are no part of a checkpoint
            assert answer.data["size_bytes"] == sum(each.stat().st_size for each in files), name


def test_two_ranks_of_dcp_are_recognised(two_rank_samples: Path) -> None:
    data = call("inspect", two_rank_samples / "dcp-2").data
    assert (data["kind"], {row["part"] for row in data["parts"]}) == ("dcp", {".metadata", "__0_0.distcp", "__1_0.distcp"})
    assert call("inspect", two_rank_samples / "dcp-2-safetensors").data["kind"] == "dcp-safetensors"


def test_what_transformers_wrote_is_recognised(transformers_samples: Path) -> None:
    kinds = {"hf": "huggingface", "hf-sharded": "huggingface", "trainer/checkpoint-2": "hf-trainer", "trainer": "collection"}
    answers = dict(zip(kinds, call_many(["inspect", transformers_samples / name] for name in kinds), strict=True))
    assert {name: (answer.code, answer.data["kind"]) for name, answer in answers.items()} == {
        name: (0, kind) for name, kind in kinds.items()
    }
    trainer = answers["trainer/checkpoint-2"].data
    assert (trainer["step"], trainer["step_from"]) == (2, "trainer_state.json")
    assert {"weights", "optimizer", "scheduler", "random state"} <= {row["role"] for row in trainer["parts"]}
    assert [row["name"] for row in answers["trainer"].data["inside"]] == ["checkpoint-1", "checkpoint-2"]


def test_what_lightning_wrote_is_recognised(lightning_samples: Path) -> None:
    for name in ("last.ckpt", "weights.ckpt"):
        data = call("inspect", lightning_samples / name).data
        assert (data["kind"], data["step"], data["step_from"]) == ("lightning", 3, "global_step in the file")


def test_the_step_comes_from_where_the_format_tells_it(torch_samples: Path) -> None:
    steps = {"dcp/step-3": (3, "the folder's name"), "trainyard/step_00000002": (2, "the manifest"), "plain.pt": (None, None)}
    answers = call_many(["inspect", torch_samples / name] for name in steps)
    assert [(answer.data["step"], answer.data["step_from"]) for answer in answers] == list(steps.values())


def test_missing_parts_are_named(torch_samples: Path, two_rank_samples: Path, tmp_path: Path) -> None:
    dcp = copied(two_rank_samples / "dcp-2", tmp_path)
    (dcp / "__1_0.distcp").unlink()
    step = copied(torch_samples / "trainyard", tmp_path) / "step_00000002"
    (step / "state.json").unlink()
    bare = copied(torch_samples / "dcp" / "step-3", tmp_path)
    (bare / ".metadata").unlink()
    for path, expected in ((dcp, "__1_0.distcp"), (step, "state.json"), (bare, ".metadata")):
        answer = call("inspect", path)
        assert (answer.code, "checkpoint.complete" in answer.checks("fail")) == (1, True)
        assert answer.data["missing"][0].startswith(expected)
        assert call("verify", path).data["verdict"] == "damaged"


def test_a_shard_that_the_index_names_and_that_is_gone_is_missing(transformers_samples: Path, tmp_path: Path) -> None:
    folder = copied(transformers_samples / "hf-sharded", tmp_path)
    gone = sorted(folder.glob("model-*.safetensors"))[1]
    gone.unlink()
    answer = call("inspect", folder)
    assert (answer.code, gone.name in " ".join(answer.data["missing"])) == (1, True)
    (folder / "model.safetensors.index.json").unlink()
    assert gone.name in call("inspect", folder).data["missing"]


def test_an_index_cannot_point_out_of_its_folder(transformers_samples: Path, tmp_path: Path) -> None:
    folder = copied(transformers_samples / "hf-sharded", tmp_path)
    index = folder / "model.safetensors.index.json"
    value = json.loads(index.read_text())
    value["weight_map"] = dict.fromkeys(value["weight_map"], "../../etc/passwd")
    index.write_text(json.dumps(value))
    answer = call("inspect", folder)
    assert (answer.code, "outside of the folder" in answer.data["missing"][0]) == (1, True)


def no_checkpoints() -> dict[str, bytes]:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("readme.txt", "hello")
    return {
        "text.pt": b"these are words\n" * 100,
        "zeros.pth": bytes(1000),
        "empty.ckpt": b"",
        "archive.bin": archive.getvalue(),
        "header.safetensors": (1 << 62).to_bytes(8, "little") + b"{}",
        "words.safetensors": b"these are words\n" * 100,
        "model.gguf": b"GGUF" + bytes(100),
        "cut.pkl": pickle.dumps({"a": 1}, 4)[:-3],
    }


def test_what_is_no_checkpoint_is_unknown_whatever_its_name(tmp_path: Path) -> None:
    kinds = no_checkpoints()
    for name, data in kinds.items():
        (tmp_path / name).write_bytes(data)
    inspected = call_many(["inspect", tmp_path / name] for name in kinds)
    verified = call_many(["verify", tmp_path / name] for name in kinds)
    for name, answer, verdict in zip(kinds, inspected, verified, strict=True):
        assert (answer.code, answer.data["kind"]) == (1, "unknown"), name
        assert answer.checks("unknown")["checkpoint.kind"], name
        assert (verdict.code, verdict.data["verdict"] in ("unknown", "damaged")) == (1, True), name


def test_a_truncated_archive_is_still_known_as_torchs(torch_samples: Path, tmp_path: Path) -> None:
    path = copied(torch_samples / "plain.pt", tmp_path)
    cut(path, path.stat().st_size // 2)
    answer = call("inspect", path)
    assert (answer.code, answer.data["kind"]) == (1, "torch-zip")
    assert "zip directory" in answer.checks("fail")["checkpoint.readable"]


def test_the_tar_form_and_a_bare_pickle_are_told_apart(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "old.pt", "w") as archive:
        archive.addfile(tarfile.TarInfo("storages"))
    (tmp_path / "values.pkl").write_bytes(pickle.dumps({"loss": 1.5}, 4))
    assert [call("inspect", tmp_path / name).data["kind"] for name in ("old.pt", "values.pkl")] == ["torch-tar", "pickle"]
    assert [call("verify", tmp_path / name).data["verdict"] for name in ("old.pt", "values.pkl")] == ["unknown", "unknown"]


def test_a_folder_of_checkpoints_lists_them(torch_samples: Path, tmp_path: Path) -> None:
    for name in ("plain.pt", "legacy.pt"):
        copied(torch_samples / name, tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    data = call("inspect", tmp_path).data
    assert {row["name"]: row["kind"] for row in data["inside"]} == {"plain.pt": "torch-zip", "legacy.pt": "torch-legacy"}
    bounded = call("inspect", tmp_path, "--limit", "1")
    assert (len(bounded.data["inside"]), bounded.data["total_inside"], bounded.document["truncated"]) == (1, 2, True)


def test_trainyards_own_folders_are_recognised_without_torch_having_run(tmp_path: Path) -> None:
    write_step(tmp_path / "run" / "checkpoints", 100)
    write_tiers(tmp_path / "run" / "checkpoints")
    (tmp_path / "run" / "run.json").write_text("{}")
    data = call("inspect", tmp_path / "run").data
    assert (data["kind"], data["inside"][0]["step"]) == ("trainyard-checkpoints", 100)


def test_a_folder_of_other_things_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    assert call("inspect", tmp_path).data["kind"] == "unknown"
    shutil.rmtree(tmp_path)
    answer = call("inspect", tmp_path)
    assert (answer.code, answer.error) == (3, "not-found")
