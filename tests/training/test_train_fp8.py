"""The float8 trainer: on which hardware, in which layers, that the products are float8, how close to bf16, its checkpoints.

Nothing here says anything about speed: the products are emulated, or done by torch's CPU kernel.
"""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.training import fp8_runs
from tests.training.exact.oracle import differences, outcome_of
from tests.training.fp8_count import Products, coarseness
from tests.training.fp8_runs import lm_fp8, train_fp8
from tests.training.lm_runs import Ended, lm_model, start, train

RECIPES = list(lm_fp8.RECIPES)
STEPS = 40
BAND = {"step": 0.04, "mean": 0.005, "validation": 0.01}
"""Nats a byte between the losses in float8 and in bf16 while they fall from 5.6 to 3.6: of any step, of all on average, at the
evaluations. Five seeds, both recipes and both formats stayed within half of it."""


@pytest.fixture(scope="module", autouse=True)
def warm_server() -> None:
    fp8_runs.warm_up()


# --- which hardware ----------------------------------------------------------------------------------------------


def cuda(major: int, minor: int) -> lm_fp8.Hardware:
    return lm_fp8.Hardware(kind="cuda", name="NVIDIA card", capability=(major, minor))


def rocm(architecture: str) -> lm_fp8.Hardware:
    return lm_fp8.Hardware(kind="rocm", name="AMD card", architecture=architecture)


@pytest.mark.parametrize(
    ("hardware", "recipes"),
    [
        (cuda(8, 0), []),
        (cuda(8, 6), []),
        (cuda(8, 9), ["tensorwise"]),
        (cuda(9, 0), RECIPES),
        (cuda(10, 0), RECIPES),
        (rocm("gfx90a"), []),
        (rocm("gfx942"), RECIPES),
        (lm_fp8.Hardware.of(torch.device("cpu")), []),
    ],
    ids=str,
)
def test_hardware_has_float8_or_a_reason(hardware: lm_fp8.Hardware, recipes: list[str]) -> None:
    reasons = {recipe: hardware.why_not(recipe) for recipe in RECIPES}
    assert [recipe for recipe, reason in reasons.items() if reason is None] == recipes
    assert all(reason is None or hardware.name in reason for reason in reasons.values())


def test_a_reason_names_what_is_there_and_what_is_needed() -> None:
    assert cuda(8, 6).why_not("tensorwise") == "NVIDIA card has compute capability 8.6, tensorwise needs 8.9"
    assert rocm("gfx90a").why_not("rowwise") == "AMD card is gfx90a, not gfx942 (MI300) or gfx950 (MI350)"


def test_one_rank_without_float8_keeps_all_ranks_in_bf16_and_is_named() -> None:
    assert lm_fp8.first_reason(["", ""]) is None
    assert lm_fp8.first_reason(["", "too old", ""]) == "rank 1: too old"
    assert lm_fp8.first_reason(["too old", "too old"]) == "too old"


# --- which layers ------------------------------------------------------------------------------------------------


def make_net(**sizes: int | bool) -> lm_model.GPT:
    torch.manual_seed(3)
    return lm_model.GPT(lm_model.ModelConfig(**{"layers": 2, "dim": 32, "heads": 2, "block_size": 16, **sizes}))


def test_first_and_last_linear_layers_and_odd_sizes_stay_as_they_are() -> None:
    assert lm_fp8.choose_layers(make_net()).kept == {
        "blocks.0.attention.qkv": "first linear layer",
        "head": "last linear layer",
    }
    choice = lm_fp8.choose_layers(nn.Sequential(*[nn.Linear(size, 32) for size in (32, 32, 24, 32, 32)]))
    assert choice.converted == ["1", "3"]
    assert choice.kept["2"] == "24 is no multiple of 16"


def test_a_model_without_a_layer_to_convert_is_a_reason_even_when_emulated() -> None:
    reason = lm_fp8.why_not(make_net(dim=40), recipe="tensorwise", emulate=True)
    assert reason and "blocks.1.up (40 is no multiple of 16)" in reason
    assert lm_fp8.why_not(make_net(), recipe="tensorwise", emulate=True) is None


@pytest.mark.parametrize("sizes", [{}, {"tied": True}], ids=["untied", "tied"])
def test_parameters_stay_the_same_objects_under_the_same_names(sizes: dict[str, bool]) -> None:
    net = make_net(**sizes)
    before = dict(net.named_parameters())
    chosen = lm_fp8.convert(net, recipe="tensorwise", format="hybrid", emulate=True).converted
    after = dict(net.named_parameters())
    assert list(after) == list(before) == list(net.state_dict())
    assert all(after[name] is before[name] for name in before)
    swapped = [name for name, module in net.named_modules() if isinstance(module, nn.Linear) and type(module) is not nn.Linear]
    assert swapped == chosen != []


# --- the products ------------------------------------------------------------------------------------------------


def products(net: lm_model.GPT) -> dict[str, int]:
    """Of one forward and backward under bf16 autocast, as the trainer does it."""
    tokens_BT = torch.randint(256, (4, 16), generator=torch.Generator().manual_seed(1))
    with Products() as seen:
        with torch.autocast("cpu", torch.bfloat16):
            logits_BTV = net(tokens_BT)
        lm_model.nats_per_byte(logits_BTV, tokens_BT).backward()
    return dict(seen.found)


def test_a_plain_model_has_no_float8_product() -> None:
    assert products(make_net()) == {"plain": 3 * 9}


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize(("format", "gradient"), [("hybrid", "e5m2"), ("e4m3", "e4m3")], ids=["hybrid", "e4m3"])
@pytest.mark.parametrize("emulate", [False, True], ids=["torch's operator", "emulated"])
def test_all_three_products_of_each_converted_layer_are_float8(recipe: str, format: str, gradient: str, emulate: bool) -> None:
    """Output: values by values. The two gradients: incoming gradient by values. First and last layer: three plain ones each."""
    net = make_net()
    count = len(lm_fp8.convert(net, recipe=recipe, format=format, emulate=emulate).converted)
    assert count == 7
    prefix = "as " if emulate else ""
    expected = {f"{prefix}e4m3 e4m3": count, f"{prefix}{gradient} e4m3": 2 * count, "plain": 3 * 2}
    if gradient == "e4m3":
        expected[f"{prefix}e4m3 e4m3"] = 3 * count
    assert products(net) == expected


ROUNDING = {bits: 2**-bits / 12**0.5 * (3 / (8 * math.log(2))) ** 0.5 for bits in (2, 3)}
"""Relative error (root mean square) of rounding to that many bits after the point, all significands being equally likely in log."""
E5M2, E4M3 = ROUNDING[2], ROUNDING[3]


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize(("format", "gradient"), [("hybrid", E5M2), ("e4m3", E4M3)], ids=["hybrid", "e4m3"])
@pytest.mark.parametrize("emulate", [False, True], ids=["torch's operator", "emulated"])
def test_a_product_differs_from_float32_by_the_rounding_of_its_operands(
    recipe: str, format: str, gradient: float, emulate: bool
) -> None:
    """Errors of two independent operands add up as squares, and a sum of products keeps their relative size."""
    torch.manual_seed(5)
    net = nn.Sequential(*[nn.Linear(256, 256, bias=False) for _ in range(3)])
    x_BD, grad_BD = torch.randn(256, 256), torch.randn(256, 256)
    exact = [product.double() for product in three_products(net[1], x_BD, grad_BD)]
    lm_fp8.convert(net, recipe=recipe, format=format, emulate=emulate)
    errors = [
        float((rounded - true).norm() / true.norm())
        for rounded, true in zip(three_products(net[1], x_BD, grad_BD), exact, strict=True)
    ]
    of_gradients = math.hypot(gradient, E4M3)
    assert errors == pytest.approx([math.hypot(E4M3, E4M3), of_gradients, of_gradients], rel=0.1)


def three_products(layer: nn.Module, x_BD: torch.Tensor, grad_BD: torch.Tensor) -> list[torch.Tensor]:
    """A linear layer's output, gradient of the input, gradient of the weight."""
    x_BD = x_BD.clone().requires_grad_()
    y_BD = layer(x_BD)
    return [y_BD.detach(), *torch.autograd.grad(y_BD, [x_BD, *layer.parameters()], grad_BD)]


def test_the_measure_of_coarseness_tells_the_types_apart() -> None:
    values = torch.randn(64, 64, generator=torch.Generator().manual_seed(2))
    assert coarseness(values) is coarseness(values.bfloat16()) is None
    assert coarseness(values.to(torch.float8_e4m3fn).float() / 3.7) == "e4m3"
    assert coarseness(values.to(torch.float8_e5m2).float() / 3.7) == "e5m2"


# --- runs --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def float8_run(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    return fp8_runs.run(tmp_path_factory.mktemp("float8"), "--steps", str(STEPS), "--fp8-emulate")


@pytest.fixture(scope="module")
def bf16_run(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    return fp8_runs.run(tmp_path_factory.mktemp("bf16"), "--steps", str(STEPS), "--precision", "bf16", script="train")


@pytest.fixture(scope="module")
def other_seed(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    options = ["--steps", str(STEPS), "--precision", "bf16", "--seed", "2"]
    return fp8_runs.run(tmp_path_factory.mktemp("other"), *options, script="train")


def distances(one: Ended, other: Ended) -> dict[str, float]:
    """How far apart two runs' losses are, in the terms of BAND."""
    steps, validations = (
        [abs(left - right) for left, right in zip(one.column(name), other.column(name), strict=True)]
        for name in ("loss", "val_loss")
    )
    return {"step": max(steps), "mean": sum(steps) / len(steps), "validation": max(validations)}


def test_the_loss_follows_bf16_within_the_band(float8_run: Ended, bf16_run: Ended, other_seed: Ended) -> None:
    assert float8_run.code == 0, float8_run.err
    first, *_, last = float8_run.column("loss")
    assert len(float8_run.column("loss")) == STEPS and last < 4 < 5.5 < first
    apart, control = distances(float8_run, bf16_run), distances(other_seed, bf16_run)
    assert all(0 < apart[name] < band for name, band in BAND.items()), apart
    assert all(control[name] > band for name, band in BAND.items()), control  # what another seed changes


def test_what_is_converted_is_printed_and_logged(float8_run: Ended) -> None:
    lines = [line for line in float8_run.out.splitlines() if line.startswith("float8: ")]
    assert lines[0].startswith(
        "float8: 7 of 9 linear layers (tensorwise, hybrid, emulated): blocks.0.attention.out, blocks.0.up,"
    )
    assert lines[1:] == [
        "float8: blocks.0.attention.qkv stays in bf16: first linear layer",
        "float8: head stays in bf16: last linear layer",
    ]
    (event,) = float8_run.events("converted")
    assert (event["used"], event["recipe"], event["format"], event["emulate"]) == (True, "tensorwise", "hybrid", True)
    assert (len(event["converted"]), list(event["kept"])) == (7, ["blocks.0.attention.qkv", "head"])
    assert "pytree" not in float8_run.err  # torch's words to the authors of torchao


def test_the_program_says_why_it_trains_in_bf16_and_does_so_bit_for_bit(bf16_run: Ended, tmp_path: Path) -> None:
    options = [*fp8_runs.SIZE.split(), *fp8_runs.LOOP.split(), "--steps", str(STEPS)]
    ended = start(tmp_path, *options, script="train_fp8.py")
    assert ended.code == 0, ended.err
    reason = "this machine's device is a CPU, which has no float8 (--fp8-emulate does the rounding in software)"
    assert ended.out.startswith(f"float8: not used, this run trains in bf16: {reason}\n")
    assert [(event["used"], event["reason"]) for event in ended.events("converted")] == [(False, reason)]
    for name in ("loss", "grad_norm", "val_loss"):
        assert ended.column(name) == bf16_run.column(name)
    assert (tmp_path / "checkpoints-fp8" / f"step_{STEPS:08d}" / "manifest.json").is_file()
    assert not (tmp_path / "checkpoints").exists()


def test_a_killed_run_resumes_to_the_same_bits(float8_run: Ended, bf16_run: Ended, tmp_path: Path) -> None:
    options = ["--steps", str(STEPS), "--fp8-emulate"]
    killed = fp8_runs.run(tmp_path, *options, killed_at=23)
    assert killed.code == -9 and len(killed.steps()) == 23
    resumed = fp8_runs.run(tmp_path, *options)
    assert resumed.code == 0, resumed.err
    assert 0 < resumed.events("restored")[-1]["step"] < 23
    uninterrupted = outcome_of(float8_run.folder, STEPS)
    assert differences(outcome_of(tmp_path, STEPS), uninterrupted) == []
    assert differences(outcome_of(bf16_run.folder, STEPS), uninterrupted)  # the control


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_a_bf16_checkpoint_goes_on_in_float8_on_two_ranks_and_back_again(
    bf16_run: Ended, tmp_path: Path, parallel: str
) -> None:
    shutil.copytree(bf16_run.folder / "checkpoints", tmp_path / "checkpoints")
    there = fp8_runs.run(tmp_path, "--steps", str(STEPS + 2), "--fp8-emulate", "--parallel", parallel, ranks=2)
    assert there.code == 0, there.err
    assert there.out.startswith("float8: 7 of 9")
    assert tensors(tmp_path, STEPS + 2) == tensors(tmp_path, STEPS)
    back = fp8_runs.run(tmp_path, "--steps", str(STEPS + 4), "--precision", "bf16", script="train")
    assert back.code == 0, back.err
    assert [event["step"] for event in back.events("restored")] == [STEPS, STEPS + 2]
    assert all(loss < 4 for loss in back.column("loss"))


def tensors(folder: Path, step: int) -> dict[str, dict[str, object]]:
    """Name -> type and shape of each tensor in a checkpoint."""
    return dict(json.loads((folder / f"checkpoints/step_{step:08d}/manifest.json").read_text())["tensors"])


# --- options and mistakes ----------------------------------------------------------------------------------------


def test_strict_ends_with_one_line_where_there_is_no_float8(tmp_path: Path) -> None:
    ended = fp8_runs.run(tmp_path, "--steps", "2", "--fp8-strict")
    assert ended.code == 1
    assert ended.err.startswith("train_fp8.py: error: this machine's device is a CPU") and ended.err.count("\n") == 1
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--fp8-format e5m2", "invalid choice: 'e5m2'"),
        ("--fp8-recipe blockwise", "invalid choice: 'blockwise'"),
        ("--block-size 24", "--block-size 24 is no multiple of 16"),
        ("--precision fp32", "what is not float8 is bf16 here"),
        ("--precision fp16", "what is not float8 is bf16 here"),
    ],
)
def test_a_wrong_option_is_one_line(options: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        train_fp8.main(options.split())
    error = capsys.readouterr().err
    assert stop.value.code == 2
    assert error.startswith("train_fp8.py: error: ") and error.count("\n") == 1 and words in error


def test_help_has_the_groups_of_train_and_float8s_own(capsys: pytest.CaptureFixture[str]) -> None:
    shown = []
    for program in (train, train_fp8):
        with pytest.raises(SystemExit):
            program.main(["--help"])
        shown.append({line for line in capsys.readouterr().out.splitlines() if re.match(r"\w.*:$", line)})
    assert shown[1] - shown[0] == {"float8:"} and shown[0] <= shown[1]
