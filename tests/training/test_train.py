"""The example trainer: its model, its options, its mistakes in words, and short runs of the real program."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import trainyard

TRAINING = Path(__file__).resolve().parents[2] / "training"
sys.path.insert(0, str(TRAINING))  # as `python training/train.py` does

import lm_corpus  # noqa: E402
import lm_model  # noqa: E402
import lm_options  # noqa: E402
import train  # noqa: E402

TINY = "--layers 2 --dim 32 --heads 2 --block-size 16 --batch-size 8 --eval-interval 2 --eval-batches 2 --max-bytes 60000"
DEADLINE_S = 180
CPU = torch.device("cpu")


# --- the program, in real processes ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str
    folder: Path

    def steps(self) -> list[dict[str, float]]:
        return [json.loads(line) for line in (self.folder / "steps.jsonl").read_text().splitlines()]

    def column(self, name: str) -> list[float]:
        return [line[name] for line in self.steps() if line.get(name) is not None]


def start(folder: Path, *options: str, ranks: int = 0) -> Ended:
    """train.py in `folder` as its run folder; `ranks` 0 is plain Python without torchrun."""
    folder.mkdir(exist_ok=True)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)] if ranks else []
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("TRAINYARD_", "PET_"))}
    environment = {**inherited, "TRAINYARD_RUN_DIR": str(folder), "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, str(TRAINING / "train.py"), *TINY.split(), *options]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=DEADLINE_S)
    return Ended(done.returncode, done.stdout, done.stderr, folder)


@pytest.fixture(scope="module")
def one_process(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    return start(tmp_path_factory.mktemp("one"), "--steps", "3", "--sample-bytes", "40")


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    return start(tmp_path_factory.mktemp("ddp"), "--steps", "3", "--gradient-accumulation", "2", ranks=2)


def test_it_runs_without_torchrun_and_ends_with_a_sample_and_a_checkpoint(one_process: Ended) -> None:
    assert one_process.code == 0, one_process.err
    assert re.search(r"^sample: def ", one_process.out, re.MULTILINE)
    assert (one_process.folder / "sample.txt").read_text().startswith("def ")
    assert (one_process.folder / "checkpoints" / "step_00000003" / "manifest.json").is_file()


def test_each_step_is_told_in_the_form_of_the_run_folder_page(one_process: Ended) -> None:
    line = re.compile(r"^trainyard step=(?P<step>\d+)(?P<fields>(?: [A-Za-z_][A-Za-z0-9_]*=\S+)*)$", re.MULTILINE)
    assert [int(match["step"]) for match in line.finditer(one_process.out)] == [1, 2, 3]
    keys = {"loss", "lr", "grad_norm", "tokens_per_s", "epoch"}
    assert all(keys <= set(record) for record in one_process.steps())
    assert [record.get("val_loss") is not None for record in one_process.steps()] == [False, True, True]


def test_two_identical_runs_have_identical_losses(two_ranks: Ended, tmp_path: Path) -> None:
    again = start(tmp_path, "--steps", "3", "--gradient-accumulation", "2", ranks=2)
    for name in ("loss", "grad_norm", "val_loss"):
        assert again.column(name) == two_ranks.column(name) != []


def test_two_ranks_and_one_process_train_on_the_same_batches(one_process: Ended, two_ranks: Ended) -> None:
    """Losses are means over the whole global batch, so they agree but for the order of the sums."""
    assert two_ranks.code == 0, two_ranks.err
    for name in ("loss", "grad_norm", "val_loss"):
        assert two_ranks.column(name) == pytest.approx(one_process.column(name), rel=1e-4)


def test_fsdp_trains_like_ddp(two_ranks: Ended, tmp_path: Path) -> None:
    sharded = start(tmp_path, "--steps", "3", "--gradient-accumulation", "2", "--parallel", "fsdp", ranks=2)
    assert sharded.code == 0, sharded.err
    assert "sample: def " in sharded.out
    for name in ("loss", "grad_norm", "val_loss"):
        assert sharded.column(name) == pytest.approx(two_ranks.column(name), rel=1e-4)


def test_a_second_start_goes_on_where_the_first_ended(tmp_path: Path) -> None:
    data = tmp_path / "small.txt"
    data.write_bytes(b"to be or not to be, that is the question\n" * 20)  # 48 blocks of 16: six steps an epoch
    options = ["--data", str(data), "--dropout", "0.1"]
    assert start(tmp_path / "run", *options, "--steps", "2").code == 0
    second = start(tmp_path / "run", *options, "--steps", "8")
    assert second.code == 0, second.err
    assert [record["step"] for record in second.steps()] == list(range(1, 9))
    assert [record["epoch"] for record in second.steps()] == [0] * 6 + [1] * 2
    manifest = json.loads((tmp_path / "run/checkpoints/step_00000006/manifest.json").read_text())
    assert (manifest["epoch"], manifest["end_of_epoch"]) == (0, True)


def test_a_checkpoint_that_is_not_there_is_named_without_a_traceback(tmp_path: Path) -> None:
    ended = start(tmp_path, "--steps", "2", "--resume", "step:7")
    assert ended.code == 1
    assert ended.err.startswith("train.py: error: ") and "step:7" in ended.err and "Traceback" not in ended.err


# --- options and mistakes ----------------------------------------------------------------------------------------


def refusal(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    with pytest.raises(SystemExit) as stop:
        train.main(list(options))
    error = capsys.readouterr().err
    assert stop.value.code == 2
    assert error.startswith("train.py: error: ") and error.count("\n") == 1
    return error


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--steps 0", "--steps: 0 is not at least 1"),
        ("--steps many", "'many' is not an integer"),
        ("--step 3", "unrecognized arguments: --step 3"),
        ("--lr 0", "0 is not above 0"),
        ("--lr nan", "nan is not above 0"),
        ("--grad-clip inf", "inf is not at least 0"),
        ("--dropout 1", "1 is not at least 0 and below 1"),
        ("--data nowhere", "--data nowhere: no such file or folder"),
        ("--resume newest", "'newest' is none of latest, best, epoch:N, step:N, none"),
        ("--resume step:", "none of latest"),
        ("--precision fp8", "invalid choice: 'fp8'"),
        ("--dim 130 --heads 4", "--dim 130 does not divide by --heads 4"),
        ("--batch-size 10 --gradient-accumulation 4", "--batch-size 10 does not divide by 1 ranks x --gradient-accumulation 4"),
    ],
)
def test_a_wrong_option_is_one_line(options: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert words in refusal(capsys, *options.split())


def test_a_batch_that_does_not_divide_by_the_ranks_is_one_line() -> None:
    args = lm_options.make_parser(None).parse_args(["--batch-size", "6"])
    lm_options.check_batch(args, world_size=3)
    with pytest.raises(ValueError, match="6 does not divide by 4 ranks"):
        lm_options.check_batch(args, world_size=4)


def test_data_without_text_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty.txt").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "image.bin").write_bytes(b"\0\1\2")
    for name in ("empty.txt", "folder"):
        assert f"no text in {tmp_path / name}" in refusal(capsys, "--data", str(tmp_path / name))


def test_a_block_larger_than_the_data_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "short.txt").write_bytes(b"x" * 100)
    error = refusal(capsys, "--data", str(tmp_path / "short.txt"), "--block-size", "64")
    assert "100 bytes of data: --block-size 64 needs at least 130" in error


def test_the_smallest_data_that_the_error_asks_for_is_enough() -> None:
    training, validation = lm_corpus.split(b"x" * 130, 64)
    assert (len(training), len(validation)) == (1, 1)


def test_help_shows_every_default_and_hides_the_test_switch() -> None:
    text = lm_options.make_parser(train.__doc__).format_help()
    assert "--steps N" in text and "(default: 400)" in text and "skip-warm-up" not in text


# --- the corpus --------------------------------------------------------------------------------------------------


def test_the_default_corpus_is_the_standard_library_without_tests_and_packages() -> None:
    paths = lm_corpus.standard_library_sources()
    assert {"argparse.py", "zipfile.py", "__future__.py"} <= {path.name for path in paths}
    assert not [path for path in paths if {"test", "tests", "site-packages"} & set(path.parts[-4:-1])]
    corpus = lm_corpus.read_corpus([], 1 << 20)
    assert len(corpus) == 1 << 20 and corpus == lm_corpus.read_corpus([], 1 << 20)


def test_a_folder_is_read_in_sorted_order_without_hidden_and_binary_files(tmp_path: Path) -> None:
    for name, content in {"b.txt": b"B", "a/z.txt": b"Z\n", ".git/x": b"X", "c.bin": b"C\0", "a/.h": b"H"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    (tmp_path / "link.txt").symlink_to(tmp_path / "b.txt")
    assert lm_corpus.read_corpus([str(tmp_path)], 1000) == b"Z\nB"
    assert lm_corpus.read_corpus([str(tmp_path)], 2) == b"Z\n"


def test_blocks_cover_the_bytes_once_and_targets_are_one_byte_later() -> None:
    blocks = lm_corpus.Blocks(torch.arange(34, dtype=torch.uint8), 8)
    assert len(blocks) == 4
    inputs_BT, targets_BT = blocks.batch(torch.arange(4), CPU)
    assert inputs_BT.flatten().tolist() == list(range(32))
    assert torch.equal(targets_BT, inputs_BT + 1)


# --- the model and one step --------------------------------------------------------------------------------------


def make_trainer(*options: str) -> train.Trainer:
    args = lm_options.make_parser(None).parse_args([*TINY.split(), *options])
    torch.manual_seed(args.seed)
    names = ("block_size", "layers", "heads", "dim", "dropout", "tied")
    net = lm_model.GPT(lm_model.ModelConfig(**{name: getattr(args, name) for name in names}))
    return train.Trainer(net, net, train.make_optimizer(net, args), trainyard.World(0, 1, 0, CPU), args)


def ramp() -> lm_corpus.Blocks:
    """Text that is easy to learn."""
    return lm_corpus.Blocks(torch.arange(4096).remainder(61).to(torch.uint8), 16)


def test_logits_have_one_row_a_byte_and_start_out_indifferent() -> None:
    net = make_trainer().net
    tokens_BT = torch.randint(256, (3, 16))
    logits_BTV = net(tokens_BT)
    assert logits_BTV.shape == (3, 16, 256)
    assert lm_model.nats_per_byte(logits_BTV, tokens_BT).item() == pytest.approx(math.log(256), abs=0.1)


def test_a_byte_is_predicted_from_the_bytes_before_it_only() -> None:
    net = make_trainer().net
    tokens_BT = torch.randint(255, (1, 16))
    changed_BT = tokens_BT.clone()
    changed_BT[0, 9] += 1
    before_TV, after_TV = net(tokens_BT)[0], net(changed_BT)[0]
    assert torch.equal(before_TV[:9], after_TV[:9])
    assert not torch.equal(before_TV[9], after_TV[9])


def test_the_default_model_has_about_a_million_parameters_and_tied_weights_are_saved_once() -> None:
    plain, tied = lm_model.GPT(lm_model.ModelConfig()), lm_model.GPT(lm_model.ModelConfig(tied=True))
    count = sum(parameter.numel() for parameter in plain.parameters())
    assert 0.9e6 < count < 1.2e6
    assert count - sum(tensor.numel() for tensor in tied.state_dict().values()) == 256 * 128


@pytest.mark.parametrize("options", [(), ("--tied", "--dropout", "0.1"), ("--precision", "bf16")])
def test_it_learns(options: tuple[str, ...]) -> None:
    trainer = make_trainer("--lr", "1e-2", *options)
    order = trainyard.GlobalOrder(len(ramp()), seed=1)
    trainer.warm_up()
    losses = [trainer.step(ramp(), order.next_batch(8))[0] for _ in range(40)]
    assert losses[0] > 5 and losses[-1] < 3
    assert trainer.evaluate(ramp()) == trainer.evaluate(ramp()) < 3


def test_the_first_loss_depends_on_the_seed_alone() -> None:
    first = [make_trainer("--seed", seed).step(ramp(), torch.arange(8)) for seed in ("1", "1", "2")]
    assert first[0] == first[1] != first[2]


def test_gradient_accumulation_equals_the_whole_batch() -> None:
    whole, parts = make_trainer(), make_trainer("--gradient-accumulation", "4")
    order = trainyard.GlobalOrder(len(ramp()), seed=1)
    for _ in range(3):
        indices_B = order.next_batch(8)
        assert parts.step(ramp(), indices_B) == pytest.approx(whole.step(ramp(), indices_B), rel=1e-5)
    for left, right in zip(whole.net.parameters(), parts.net.parameters(), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-5)


def test_clipping_bounds_the_update_and_reports_the_norm_before_it() -> None:
    """AdamW forgets the scale of a gradient, so the gradients themselves are looked at, through plain SGD."""
    moved = {}
    for clip in ("0", "0.01"):
        trainer = make_trainer("--grad-clip", clip)
        before = torch.cat([parameter.detach().flatten() for parameter in trainer.net.parameters()])
        sgd = train.Trainer(
            trainer.net, trainer.net, torch.optim.SGD(trainer.net.parameters(), lr=1.0), trainer.world, trainer.args
        )
        _, norm = sgd.step(ramp(), torch.arange(8))
        after = torch.cat([parameter.detach().flatten() for parameter in trainer.net.parameters()])
        moved[clip] = ((after - before).norm().item(), norm)
    assert moved["0"][0] == pytest.approx(moved["0"][1], rel=1e-3)
    assert moved["0.01"] == (pytest.approx(0.01, rel=1e-3), moved["0"][1])


def test_the_warm_up_leaves_parameters_and_optimizer_as_they_were() -> None:
    trainer, untouched = make_trainer(), make_trainer()
    trainer.warm_up()
    assert not trainer.optimizer.state
    for left, right in zip(trainer.net.parameters(), untouched.net.parameters(), strict=True):
        assert torch.equal(left, right) and left.grad is None


def test_the_learning_rate_rises_then_falls_along_a_cosine_and_resumes() -> None:
    options = ("--steps", "20", "--warmup-steps", "4", "--lr", "1e-3", "--min-lr", "1e-4")
    rates = learning_rates(20, *options)
    assert rates[:5] == sorted(rates[:5]) and rates[4] == pytest.approx(1e-3)
    assert rates[4:] == sorted(rates[4:], reverse=True) and rates[19] == pytest.approx(1e-4, rel=0.2)
    assert min(rates) >= 1e-4
    trainer = make_trainer(*options)
    schedule = train.make_schedule(trainer.optimizer, trainer.args)
    for _ in range(7):
        trainer.optimizer.step()
        schedule.step()
    resumed = train.make_schedule(make_trainer(*options).optimizer, trainer.args)
    resumed.load_state_dict(json.loads(json.dumps(schedule.state_dict())))
    assert resumed.get_last_lr()[0] == rates[7]


def learning_rates(count: int, *options: str) -> list[float]:
    trainer = make_trainer(*options)
    schedule = train.make_schedule(trainer.optimizer, trainer.args)
    rates = []
    for _ in range(count):
        rates.append(schedule.get_last_lr()[0])
        trainer.optimizer.step()
        schedule.step()
    return rates


def test_evaluation_and_generation_leave_the_rng_as_it_was() -> None:
    trainer = make_trainer("--dropout", "0.1")
    for use in uses_of(trainer):
        before = torch.get_rng_state()
        assert use() == use()
        assert torch.equal(torch.get_rng_state(), before)
    trainer.net.train()
    trainer.step(ramp(), torch.arange(8))
    assert not torch.equal(torch.get_rng_state(), before)  # the control: a step with dropout does draw


def uses_of(trainer: train.Trainer) -> list[Callable[[], object]]:
    return [
        lambda: trainer.evaluate(ramp()),
        lambda: lm_model.generate(trainer.net.eval(), b"ab", 30, 16, seed=1),
    ]


def test_generated_text_begins_with_the_prompt_and_has_the_length_asked_for() -> None:
    text = lm_model.generate(make_trainer().net, b"def ", 50, 16, seed=3)
    assert text.startswith(b"def ") and len(text) == 54
