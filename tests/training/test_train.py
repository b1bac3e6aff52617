"""The example trainer: short runs of the real program, its mistakes in words, its corpus."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from tests.training.lm_runs import CPU, Ended, lm_corpus, lm_options, refusal, start, train


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
        ("--profile 3", "--profile 3:3 lies outside the run of 2 steps"),
        ("--profile 2:1", "'2:1' is no range of steps such as 10:12"),
        ("--profile 0:1", "the first step is 1"),
        ("--pin-memory", "--pin-memory is done by workers: add --workers N"),
        ("--precision fp16 --parallel fsdp", "use bf16, or ddp"),
    ],
)
def test_a_wrong_option_is_one_line(options: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert words in refusal(capsys, "--steps", "2", *options.split())


def test_a_batch_that_does_not_divide_by_the_ranks_is_one_line() -> None:
    args = lm_options.make_parser(None).parse_args(["--batch-size", "6"])
    lm_options.check_options(args, world_size=3)
    with pytest.raises(ValueError, match="6 does not divide by 4 ranks"):
        lm_options.check_options(args, world_size=4)


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
