"""DeepSpeed's folders, as its engine wrote them (samples/): all ranks present, each file intact, tensors of each rank."""

from __future__ import annotations

from pathlib import Path

import pytest
from damaged_samples import copied, flip, member_span
from made_checkpoints import call

SAMPLES = Path(__file__).parent / "samples"
STAGES = ("deepspeed-zero1", "deepspeed-zero3")


@pytest.mark.parametrize("name", STAGES)
def test_deepspeeds_folder_is_recognised_and_intact(name: str) -> None:
    root = call("inspect", SAMPLES / name)
    assert (root.code, root.data["kind"], root.data["step"]) == (0, "deepspeed-folder", 2)
    step = call("inspect", SAMPLES / name / "global_step2").data
    assert (step["kind"], step["step"], step["step_from"]) == ("deepspeed", 2, "global_steps in a model file")
    assert "dp_world_size 2, mp_world_size 1 in a model file" in step["evidence"]
    verified = call("verify", SAMPLES / name)
    assert (verified.code, verified.data["verdict"]) == (0, "intact")
    named = " ".join(check["summary"] for check in verified.document["checks"] if check["status"] == "warn")
    assert "deepspeed.runtime.fp16.loss_scaler.LossScaler" in named, "DeepSpeed's own classes are named"


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("rank", [0, 1])
def test_a_missing_rank_is_named_the_last_one_too(tmp_path: Path, name: str, rank: int) -> None:
    step = copied(SAMPLES / name, tmp_path) / "global_step2"
    gone = f"bf16_zero_pp_rank_{rank}_mp_rank_00_optim_states.pt"
    (step / gone).unlink()
    assert call("inspect", step).data["missing"] == [gone]
    answer = call("verify", tmp_path / name)
    assert (answer.code, answer.data["verdict"]) == (1, "damaged")
    assert gone in answer.checks("fail")["checkpoint.intact"]


def test_one_flipped_bit_in_one_ranks_file_is_found(tmp_path: Path) -> None:
    step = copied(SAMPLES / "deepspeed-zero1", tmp_path) / "global_step2"
    path = step / "bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt"
    begin, size = member_span(path, "data/0")
    flip(path, begin + size // 2)
    answer = call("verify", step)
    assert (answer.data["verdict"], path.name in answer.checks("fail")["checkpoint.intact"]) == ("damaged", True)


def test_latest_that_names_a_folder_that_is_gone_is_a_missing_part(tmp_path: Path) -> None:
    root = copied(SAMPLES / "deepspeed-zero1", tmp_path)
    (root / "latest").write_text("global_step4")
    answer = call("inspect", root)
    assert (answer.code, "global_step4" in answer.data["missing"][0]) == (1, True)


def test_tensors_of_each_rank_are_listed_under_its_file() -> None:
    listed = {row["tensor"]: row for row in call("tensors", SAMPLES / "deepspeed-zero1" / "global_step2").data["tensors"]}
    weight = listed["mp_rank_00_model_states.pt:module.0.weight"]
    assert (weight["dtype"], weight["shape"]) == ("BF16", [8, 8])
    halves = [row["shape"][0] for name, row in listed.items() if name.endswith("single_partition_of_fp32_groups.0")]
    assert sum(halves) == 8 * 8 + 8 + 2 * 8 + 2, "the two halves of the float32 weights"
