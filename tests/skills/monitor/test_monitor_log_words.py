"""Anybody's words and numbers: which line names the figures, how numbers are spelled, and who prints the line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from monitor_call import call


def read(tmp_path: Path, lines: list[str]) -> dict[str, Any]:
    log = tmp_path / "train.log"
    log.write_text("\n".join(lines) + "\n")
    return call("metrics", log, "--limit", 1000)["data"]  # type: ignore[no-any-return]


def told(tmp_path: Path, lines: list[str], *names: str) -> tuple[Any, ...]:
    summary = read(tmp_path, lines)["summary"]
    return tuple(summary[name] for name in names)


LAST = ("last_step", "total_steps", "last_loss")

# --- numbers -----------------------------------------------------------------------------------------------------


def test_thousands_are_one_number_and_so_is_the_total(tmp_path: Path) -> None:
    lines = [f"step {n * 500:,}/20,000 loss {3 - n / 20:.3f}" for n in range(1, 31)]
    assert told(tmp_path, lines, *LAST) == (15_000, 20_000, 1.5)


def test_a_decimal_comma_is_one_where_the_whole_log_has_no_point(tmp_path: Path) -> None:
    lines = [f"step {n} loss {3 - n / 50:.3g} lr 0.001".replace(".", ",") for n in range(1, 41)]
    assert told(tmp_path, lines, "last_step", "last_loss", "last_lr") == (40, 2.2, 0.001)


def test_points_group_thousands_where_commas_are_decimal(tmp_path: Path) -> None:
    lines = [f"step {n}.000/20.000 loss 2,{99 - n}" for n in range(1, 6)]
    assert told(tmp_path, lines, *LAST) == (5000, 20_000, 2.94)


def test_a_single_decimal_point_says_that_commas_separate(tmp_path: Path) -> None:
    lines = [f"step {n} loss {4 - n}.5, shape 1,2 ids 3,14" for n in (1, 2, 3)]
    assert told(tmp_path, lines, "last_step", "last_loss") == (3, 1.5)


def test_the_milliseconds_of_a_time_are_no_decimal_comma(tmp_path: Path) -> None:
    lines = [f"2026-01-01 10:00:00,123 step {n},000 loss {5 - n}" for n in (1, 2, 3)]
    assert told(tmp_path, lines, "last_step", "last_loss") == (3000, 2.0)
    lines = [f"step {n},000 loss 2.{n}e+00 ids 0,{n}" for n in (1, 2, 3)]
    assert told(tmp_path, lines, "last_step", "last_loss") == (3000, 2.3)


# --- places ------------------------------------------------------------------------------------------------------


def test_a_step_of_an_epoch_is_counted_over_the_epochs(tmp_path: Path) -> None:
    lines = [f"Epoch [{e}/3], Step [{s}/100], Loss: {4 - e}.{s:02}" for e in (1, 2) for s in (20, 40, 60)]
    assert told(tmp_path, lines, *LAST, "restarts") == (160, 300, 2.6, 0)


def test_a_place_may_stand_in_brackets_with_its_words(tmp_path: Path) -> None:
    lines = [f"[Epoch {e}/3] [Batch {b}/100] loss: {4 - e}.5" for e in (0, 1) for b in (10, 20)]
    assert told(tmp_path, lines, *LAST) == (120, 300, 3.5)


def test_a_step_that_counts_on_is_not_counted_again(tmp_path: Path) -> None:
    lines = [f"Epoch {e}/3, global step {s}/300, loss {4 - e}.5" for e, s in ((1, 50), (1, 100), (2, 150))]
    assert told(tmp_path, lines, *LAST) == (150, 300, 2.5)


def test_an_epoch_is_a_step_only_where_nothing_else_is(tmp_path: Path) -> None:
    assert told(tmp_path, [f"epoch {n} loss {4 - n}.5" for n in (1, 2, 3)], "last_step", "last_loss") == (3, 1.5)
    lines = ["epoch 1 loss 9.5", "step 10 loss 3.5", "step 20 loss 2.5", "epoch 2 loss 9.0"]
    assert told(tmp_path, lines, "first_step", "last_step", "last_loss") == (10, 20, 2.5)


def test_words_in_front_of_step_are_not_its_name(tmp_path: Path) -> None:
    assert told(tmp_path, ["INFO step=1 loss=2.5", "INFO step=2 loss=1.5"], "last_step", "last_loss") == (2, 1.5)
    assert told(tmp_path, ["loss 2.5 at step 10", "loss 1.5 at step 20"], "last_step", "last_loss") == (20, 1.5)


# --- names -------------------------------------------------------------------------------------------------------


def test_a_first_line_of_another_shape_does_not_name_the_figures(tmp_path: Path) -> None:
    lines = ["warm-up iteration 7: total_loss 99.5", *(f"step {n} loss {5 - n / 10}" for n in range(1, 31))]
    data = read(tmp_path, lines)
    assert (data["total"], data["summary"]["first_loss"], data["summary"]["last_step"]) == (30, 4.9, 30)
    assert data["fields"]["loss"] == "loss" and any(note.startswith("1 lines with a loss") for note in data["notes"])


def test_a_first_json_object_of_another_shape_does_not_name_the_figures(tmp_path: Path) -> None:
    lines = [
        '{"epoch": 0, "eval_loss": 9.5}',
        *(f'{{"current_steps": {n}, "total_steps": 90, "loss": {5 - n}}}' for n in (1, 2, 3)),
    ]
    assert told(tmp_path, lines, *LAST) == (3, 90, 2.0)


def test_a_log_that_changes_its_words_for_good_is_read_on(tmp_path: Path) -> None:
    lines = [f"step {n} loss 5.5" for n in range(1, 2100)] + [f"iter {n}: train_loss 2.5" for n in range(2100, 2300)]
    data = read(tmp_path, lines)
    assert (data["summary"]["last_step"], data["summary"]["last_loss"]) == (2299, 2.5)
    assert any(note.startswith("64 lines with a loss") for note in data["notes"])


def test_lines_of_an_evaluation_with_a_bare_loss_are_evaluations(tmp_path: Path) -> None:
    lines = [f"[{what}] step {n} loss {loss}" for n in (1, 2, 3) for what, loss in (("train", 5.5 - n), ("val", 9.5 - n))]
    assert told(tmp_path, lines, "last_loss", "last_eval_loss", "evals") == (2.5, 6.5, 3)


def test_a_word_that_all_lines_have_makes_no_evaluation_of_them(tmp_path: Path) -> None:
    assert told(tmp_path, [f"[test] step {n} loss {4 - n}" for n in (1, 2)], "last_loss", "evals") == (2.0, 0)


# --- who prints --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["{}: ", " {}: ", "[1,{}]<stdout>:", "[1,{}]<stdout>: ", "2026-01-01T00:00:00.5Z {}: "])
def test_rank_0_speaks_for_the_run_behind_a_launchers_prefix(tmp_path: Path, prefix: str) -> None:
    lines = [prefix.format(rank) + f"step {n} loss {n}.{rank}" for n in range(1, 30) for rank in (3, 1, 0, 2)]
    data = read(tmp_path, lines)
    assert (data["total"], data["summary"]["last_step"], data["summary"]["last_loss"]) == (29, 29, 29.0)
    assert any("87 lines of others" in note for note in data["notes"])


def test_json_lines_are_read_behind_a_launchers_prefix(tmp_path: Path) -> None:
    lines = [f'{rank}: {{"step": {n}, "loss": {n}.{rank}}}' for n in (1, 2, 3) for rank in (1, 0)]
    assert told(tmp_path, lines, "last_step", "last_loss") == (3, 3.0)


def test_the_numbers_of_lines_are_no_ranks(tmp_path: Path) -> None:
    lines = [f"{n:4}: step {n} loss {n}.5" for n in range(1, 400)]
    assert told(tmp_path, lines, "last_step", "last_loss") == (399, 399.5)


# --- what is left ------------------------------------------------------------------------------------------------


def test_the_time_that_is_left_is_the_logs_own_else_by_its_pace(tmp_path: Path) -> None:
    lines = [f"step {n}/100 loss 2.5 eta: 1 day, 0:00:0{n}" for n in (1, 2, 3)]
    assert told(tmp_path, lines, "eta_s") == (86403.0,)
    lines = [f"2026-01-01 00:00:{2 * n:02} step {n}/100 loss 2.5" for n in (1, 2, 3)]
    assert told(tmp_path, lines, "eta_s") == (194.0,)
    assert told(tmp_path, [f"step {n} loss 2.5" for n in (1, 2)], "eta_s") == (None,)
