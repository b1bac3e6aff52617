"""`metrics` reads the logs of public trainers as they are meant: step, total, loss, throughput and the time that is left."""

from __future__ import annotations

from pathlib import Path

import pytest
from monitor_call import call
from public_logs import SAMPLES


@pytest.mark.parametrize("name", SAMPLES)
def test_a_public_trainers_log_is_read_as_it_is_meant(tmp_path: Path, name: str) -> None:
    sample = SAMPLES[name]
    log = tmp_path / "train.log"
    log.write_text("\n".join(sample.lines) + "\n")
    data = call("metrics", log, "--limit", 1000)["data"]
    summary = data["summary"] | {"unit": data["throughput_unit"]}
    wanted = {"last_step": sample.last_step, "last_loss": sample.last_loss, "total_steps": sample.total_steps, "restarts": 0}
    assert {key: summary[key] for key in (wanted | sample.more)} == pytest.approx(wanted | sample.more)
    assert data["format"] == sample.format
    assert sample.points is None or data["total"] == sample.points


def _status(tmp_path: Path, lines: list[str]) -> dict[str, object]:
    log = tmp_path / "train.log"
    log.write_text("\n".join(lines) + "\n")
    data: dict[str, object] = call("status", log)["data"]
    return data


def test_the_time_that_is_left_comes_from_the_training_time_in_the_lines(tmp_path: Path) -> None:
    """modded-nanogpt counts its own time, in milliseconds, and leaves the loss out of most lines."""
    lines = ["step:0/6000 val_loss:10.8258 train_time:0ms step_avg:nanms"]
    lines += [f"step:{n}/6000 train_time:{n * 500}ms step_avg:{500.0:.2f}ms" for n in range(1, 101)]
    data = _status(tmp_path, lines)
    assert (data["step"], data["total_steps"], data["loss"]) == (100, 6000, None)
    assert (data["step_s_median"], data["eta_s"]) == pytest.approx((0.5, 2950.0))


@pytest.mark.parametrize(
    ("line", "step_s"),
    [
        ("iter {n}/1000: loss {loss}, time 250.00ms, mfu 12.00%", 0.25),
        ("step {n}/1000 loss={loss} dt=0.25s", 0.25),
        ("iteration {n}/1000 | elapsed time per iteration (ms): 250.0 | lm loss: {loss}E+00", 0.25),
    ],
)
def test_a_step_takes_as_long_as_its_line_says_where_the_log_has_no_times(tmp_path: Path, line: str, step_s: float) -> None:
    data = _status(tmp_path, [line.format(n=n, loss=f"{3 - n / 1000:.3f}") for n in range(1, 101)])
    assert (data["step"], data["total_steps"]) == (100, 1000)
    assert (data["step_s_median"], data["eta_s"]) == pytest.approx((step_s, 900 * step_s))


@pytest.mark.parametrize("words", ["data time: 5.2 ms", "total time 91000ms", "dt=0.01", "wall_time 3000 s"])
def test_what_is_not_the_time_of_a_step_is_not_taken_for_it(tmp_path: Path, words: str) -> None:
    data = _status(tmp_path, [f"step {n}/1000 loss={3 - n / 1000:.3f} {words}" for n in range(1, 101)])
    assert (data["step"], data["step_s_median"], data["eta_s"]) == (100, None, None)


def test_a_trainer_that_says_itself_what_is_left_is_believed_without_a_number_of_steps(tmp_path: Path) -> None:
    words = "lr: 1.0e-02  eta: 0:09:39  time: 0.1904  data_time: 0.0327  memory: 970  loss: 2.5746"
    data = _status(tmp_path, [f"07/03 13:04:1{n} - mmengine - INFO - Epoch(train)  [1][ {n}0/196]  {words}" for n in (1, 2, 3)])
    assert (data["step"], data["total_steps"], data["eta_s"]) == (30, None, 579.0)


def test_an_evaluation_inside_its_batches_is_no_evaluation_yet(tmp_path: Path) -> None:
    train = [f"Train: 0 [{batch:>4d}/200 ({batch // 2}%)]  Loss: 6.0 (6.9)  Time: 0.5s,  512.2/s" for batch in (0, 100, 199)]
    half = "Test: [   5/10]  Time: 0.100 (0.100)  Loss:   9.250 ( 9.500)  Acc@1:  10.000"
    assert _status(tmp_path, [*train, half])["val_loss"] is None
    assert _status(tmp_path, [*train, half, half.replace("   5/10", "  10/10")])["val_loss"] == 9.5
