"""`metrics`: each format is recognised by itself, and its figures are the ones that were printed."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from monitor_call import PROGRAM, SKILL, call, run
from monitor_log_lines import titan, titan_validation, tune, tune_json, verl, verl_ppo
from monitor_run_writer import random_history

LOSSES = [8.125, 6.5, 4.25, 3.0, 3.5]


def titan_log() -> list[str]:
    lines = [titan(10 * n, loss, seconds=5 * n) for n, loss in enumerate(LOSSES, start=1)]
    return [
        "[rank0]:[titan] 2026-01-01 00:00:00,000 - root - INFO - Training starts at step 1",
        *lines,
        titan_validation(50, 3.25),
    ]


def tune_log() -> list[str]:
    return ["Writing logs to /tmp/log_1.txt", *(tune(n, loss, grad_norm=1.5) for n, loss in enumerate(LOSSES, start=1))]


def verl_log() -> list[str]:
    return ["(TaskRunner pid=4123) step:0 - val-core/gsm8k/acc/mean@1:0.25"] + [
        verl_ppo(n, loss, 0.5) for n, loss in enumerate(LOSSES, start=1)
    ]


def nanogpt_log() -> list[str]:
    return [f"iter {n * 100}: loss {loss:.4f}, time 12.34ms, mfu 33.10%" for n, loss in enumerate(LOSSES)]


def megatron_log() -> list[str]:
    return [
        f" [2026-01-01 00:00:0{n}] iteration {n:8d}/     500 | consumed samples: {n * 8:12d} | learning rate: 1.500000E-04 | "
        f"global batch size:     8 | lm loss: {loss:.6E} | loss scale: 1.0 | grad norm: 2.500 | number of skipped iterations:   0 |"
        for n, loss in enumerate(LOSSES, start=1)
    ]


def imagenet_log() -> list[str]:
    """pytorch/examples: a place in the epoch, averages in brackets, and an evaluation that counts its own batches."""
    numbers = "Time  1.197 ( 1.293)\tData  0.032 ( 0.042)\tLoss {loss:.4e} (7.2309e+00)\tAcc@1   0.00 (  0.00)"
    lines = [f"Epoch: [1][ {n}/20]\t" + numbers.format(loss=loss) for n, loss in enumerate(LOSSES, start=1)]
    return ["=> Dummy data is used!", *lines, "Test: [1/4]\t" + numbers.format(loss=9.5)]


def huggingface_log() -> list[str]:
    lines = [
        f"{{'loss': '{loss}', 'grad_norm': '1.5', 'learning_rate': '5e-05', 'epoch': '{n / 5}'}}"
        for n, loss in enumerate(LOSSES, 1)
    ]
    end = "{'train_runtime': '8.5', 'train_samples_per_second': '18.75', 'train_steps_per_second': '4.7', 'epoch': '1'}"
    return [*lines, "{'eval_loss': '3.25', 'eval_runtime': '0.1', 'epoch': '1'}", end]


def lightning_csv() -> list[str]:
    rows = [f"0,,{n * 10 - 1},{loss},,0.001" for n, loss in enumerate(LOSSES, start=1)]
    return ["epoch,grad_norm,step,train_loss,val_loss,lr-SGD", *rows, "0,,49,,3.25,"]


def tqdm_log() -> list[str]:
    return [
        "\r".join(
            f"Training:  {n}%|{'#' * n}  | {n}/500 [00:0{n}<08:20,  1.00it/s, loss={loss}]" for n, loss in enumerate(LOSSES, 1)
        )
    ]


# The first word of a key is the format's name; the training lines have the five LOSSES; a key of one word is tried as every other format.
SAMPLES: dict[str, tuple[list[str], dict[str, Any]]] = {
    "torchtitan": (titan_log(), {"last_step": 50, "last_throughput": 12345.0, "unit": "tokens/s/device", "last_eval_loss": 3.25, "last_grad_norm": 1.25}),
    "torchtune": (tune_log(), {"last_step": 5, "last_throughput": 812.25, "unit": "tokens/s/GPU", "last_lr": 2e-5, "last_grad_norm": 1.5}),
    "torchtune as JSON": ([tune_json(n, loss) for n, loss in enumerate(LOSSES, 1)], {"last_step": 5, "unit": "tokens/s/GPU"}),
    "verl": (verl_log(), {"last_step": 5, "last_throughput": 1810.125, "unit": "tokens/s/GPU", "last_reward": 0.5, "last_lr": 1e-6}),
    "verl as JSON": (
        [json.dumps({"step": n, "data": {"actor/pg_loss": loss, "perf/throughput": 2.5}}) for n, loss in enumerate(LOSSES, 1)],
        {"last_step": 5, "unit": "tokens/s/GPU"},
    ),
    "huggingface": (huggingface_log(), {"last_step": 5, "last_lr": 5e-5, "last_eval_loss": 3.25, "unit": "samples/s", "last_throughput": 18.75}),
    "lightning": (lightning_csv(), {"last_step": 49, "last_eval_loss": 3.25, "last_lr": 0.001}),
    "key-value": (nanogpt_log(), {"first_step": 0, "last_step": 400}),
    "key-value of Megatron": (megatron_log(), {"last_step": 5, "total_steps": 500, "last_lr": 1.5e-4, "last_grad_norm": 2.5}),
    "key-value of pytorch/examples": (imagenet_log(), {"first_step": 21, "last_step": 25}),
    "key-value in a bar": (tqdm_log(), {"last_step": 5, "total_steps": 500}),
    "key-value with signs": (
        [f"INFO global_step={n} train_loss={loss} lr=1e-3 tokens/sec=1,250 val_loss=3.25" for n, loss in enumerate(LOSSES, 1)],
        {"last_step": 5, "last_throughput": 1250.0, "unit": "tokens/sec", "last_eval_loss": 3.25},
    ),
}  # fmt: skip


def written(tmp_path: Path, lines: list[str]) -> Path:
    log = tmp_path / "train.log"
    log.write_text("\n".join(lines) + "\n")
    return log


def test_steps_go_on_between_the_evaluations_of_a_log_that_begins_with_one(tmp_path: Path) -> None:
    """nanoGPT's whole log: an evaluation has names of its own, `step` and `train loss`, and the steps are `iter` and `loss`."""
    lines = ["number of parameters: 0.02M", "step 0: train loss 9.5000, val loss 9.6250", *nanogpt_log()[:3]]
    lines += ["step 201: train loss 3.7500, val loss 3.8750", "saving checkpoint to out", *nanogpt_log()[3:]]
    data = call("metrics", written(tmp_path, lines))["data"]
    assert data["format"] == "key-value"
    assert [(point["step"], point["loss"]) for point in data["points"] if point["step"] not in (0, 201)] == [
        (n * 100, loss) for n, loss in enumerate(LOSSES) if n
    ]
    assert (data["summary"]["last_step"], data["summary"]["last_loss"]) == (400, 3.5)
    assert data["summary"]["last_eval_loss"] == 3.875


def test_an_evaluation_that_counts_its_own_batches_is_not_a_step(tmp_path: Path) -> None:
    lines = [*nanogpt_log()[:3], "eval step 7: val loss 9.0000", *nanogpt_log()[3:]]
    data = call("metrics", written(tmp_path, lines))["data"]
    assert [point["step"] for point in data["points"]] == [0, 100, 200, 300, 400]


@pytest.mark.parametrize("name", SAMPLES)
def test_a_format_is_recognised_and_its_figures_are_those_printed(tmp_path: Path, name: str) -> None:
    lines, wanted = SAMPLES[name]
    data = call("metrics", written(tmp_path, lines))["data"]
    summary = data["summary"]
    assert data["format"] == name.split()[0] and data["total"] == len(LOSSES)
    assert [point["loss"] for point in data["points"]] == pytest.approx(LOSSES)
    assert (summary["first_loss"], summary["last_loss"], summary["min_loss"]) == pytest.approx((8.125, 3.5, 3.0))
    assert summary["restarts"] == summary["losses_not_finite"] == 0
    assert {**summary, "unit": data["throughput_unit"]}.items() >= wanted.items()


@pytest.mark.parametrize("name", [name for name in SAMPLES if " " not in name])
def test_a_log_is_not_of_another_format(tmp_path: Path, name: str) -> None:
    """The negative control: told to read it as something else, nothing is found."""
    log = written(tmp_path, SAMPLES[name][0])
    others = {"trainyard", *(one for one in SAMPLES if " " not in one)} - {name, "key-value"}
    for other in sorted(others):
        error = call("metrics", log, "--log-format", other, code=2)["error"]
        assert f"in the format {other}" in error["message"]


def test_every_log_format_has_its_row_in_the_reference() -> None:
    choices = re.search(r"--log-format \[(.+?)\]", run("metrics", "--help").stdout, re.DOTALL)
    assert choices is not None
    rows = re.findall(r"^\| `([a-z][a-z-]*)` \|", (SKILL / "references" / "logs.md").read_text(), re.MULTILINE)
    assert sorted([*rows, "auto"]) == sorted(re.sub(r"\s", "", choices[1]).split("|"))


def test_a_run_folder_is_read_from_its_step_lines_and_so_is_the_log_of_the_same_run(tmp_path: Path) -> None:
    run = random_history(tmp_path / "run", 3)
    steps = [json.loads(line) for line in (run.path / "steps.jsonl").read_text().splitlines()]
    data = call("metrics", run.path, "--limit", 10_000)["data"]
    backs = sum(after["step"] <= before["step"] for before, after in itertools.pairwise(steps))
    assert data["format"] == "trainyard" and data["throughput_unit"] == "tokens/s" and backs > 0
    assert [point["loss"] for point in data["points"]] == pytest.approx([step["loss"] for step in steps])
    assert data["summary"]["restarts"] == backs

    lines = [f"[default0]:trainyard step={step['step']} loss={step['loss']:.5f} step_s=0.5 blocked_s=0.0" for step in steps]
    printed = call("metrics", written(tmp_path, lines))["data"]
    assert printed["summary"]["last_step"] == data["summary"]["last_step"] and printed["summary"]["restarts"] > 0


def test_restarts_are_seen_as_the_step_going_back_and_losses_that_are_no_numbers_are_counted(tmp_path: Path) -> None:
    steps = [1, 2, 3, 4, 5, 3, 4, 5, 6, 2, 3]
    lines = [titan(step, float("nan") if step == 6 else 2.0) for step in steps]
    summary = call("metrics", written(tmp_path, lines))["data"]["summary"]
    assert summary["restart_steps"] == [{"from": 5, "to": 3}, {"from": 6, "to": 2}]
    assert (summary["losses_not_finite"], summary["first_not_finite_step"], summary["min_loss"]) == (1, 6, 2.0)


def test_points_without_steps_are_numbered_and_it_says_so(tmp_path: Path) -> None:
    data = call("metrics", written(tmp_path, huggingface_log()))["data"]
    assert data["step_source"] == "order" and any("numbered in the order" in note for note in data["notes"])
    assert data["evals"] == [{"step": 5, "eval_loss": 3.25}]


def test_thousandths_of_a_learning_rate_are_told_as_such(tmp_path: Path) -> None:
    """The older SFT trainer of VERL prints `train/lr(1e-3)`."""
    lines = [f"step:{n} - train/loss:2.5 - train/lr(1e-3):0.02 - train/time(s):1.5" for n in (1, 2, 3)]
    data = call("metrics", written(tmp_path, lines))["data"]
    assert data["summary"]["last_lr"] == pytest.approx(2e-5) and "1000" in data["fields"]["lr"]
    assert call("metrics", written(tmp_path, [verl(1, train__loss=2.5, train__lr=2e-5)]))["data"]["summary"]["last_lr"] == 2e-5


def test_stdin_is_read_to_its_end(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(PROGRAM), "metrics", "-"],
        input=tune(1, 2.5) + "\n" + tune(2, 2.25),
        capture_output=True,
        text=True,
        timeout=60,
    )
    data = json.loads(done.stdout)["data"]
    assert (data["source"], data["total"], data["summary"]["last_loss"]) == ("stdin", 2, 2.25)


def test_the_format_of_most_lines_wins_and_the_others_are_named(tmp_path: Path) -> None:
    data = call("metrics", written(tmp_path, [tune(1, 9.0), *titan_log()]))["data"]
    assert data["format"] == "torchtitan" and any("1 of torchtune" in note for note in data["notes"])
