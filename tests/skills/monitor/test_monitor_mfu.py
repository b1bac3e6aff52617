"""`mfu`: 6 FLOP a parameter and token over the peak, and what is missing for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from monitor_call import SKILL, call, check

TITAN = SKILL / "assets" / "example-titan.log"
MODEL = ("--parameters", "8B", "--gpu", "NVIDIA H100 80GB HBM3")


def test_a_known_sum(tmp_path: Path) -> None:
    """8e9 parameters at 7418 tokens a second of an H100: 6 x 8e9 x 7418 / 989e12. In fp8 it is half of that."""
    found = call("mfu", TITAN, *MODEL)
    tokens = found["data"]["tokens_per_s_per_gpu"]
    assert found["data"]["mfu"] == pytest.approx(6 * 8e9 * tokens / 989e12) and check(found, "mfu")["status"] == "pass"
    fp8 = call("mfu", TITAN, *MODEL, "--precision", "fp8")
    assert fp8["data"]["mfu"] == pytest.approx(6 * 8e9 * tokens / 1979e12)
    whole = call("mfu", TITAN, *MODEL, "--tokens-per-s", "64000", "--whole-job", "--gpus", "8")
    assert whole["data"]["mfu"] == pytest.approx(6 * 8e9 * 8000 / 989e12)


def test_far_below_is_a_warning_and_beyond_the_peak_is_unknown(tmp_path: Path) -> None:
    assert check(call("mfu", TITAN, "--parameters", "1B", "--gpu", "H100"), "mfu")["status"] == "warn"
    assert check(call("mfu", TITAN, "--parameters", "1B", "--gpu", "H100", "--expect", "0.05"), "mfu")["status"] == "pass"
    assert check(call("mfu", TITAN, "--parameters", "70B", "--gpu", "H100", code=1), "mfu")["status"] == "unknown"


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    """No GPU, no parameters, no throughput, a `tokens/s` of nobody knows whom, a peak that no page has."""
    log = tmp_path / "train.log"
    log.write_text("".join(f"trainyard step={n} loss=2.5 step_s=0.5 tokens_per_s=9000\n" for n in range(1, 9)))
    told = check(call("mfu", log, *MODEL, code=1), "mfu")
    assert told["status"] == "unknown" and "--per-gpu or --whole-job" in told["summary"]
    assert call("mfu", log, *MODEL, "--per-gpu")["data"]["mfu"] > 0
    log.write_text("".join(f"step {n}: loss=2.5\n" for n in range(1, 9)))
    assert "--tokens-per-s" in check(call("mfu", log, code=1), "mfu")["summary"]
    assert "a peak of T4 in fp8" in check(call("mfu", log, "--gpu", "T4", "--precision", "fp8", code=1), "mfu")["summary"]
    call("mfu", log, "--gpu", "H900", code=2)
    call("mfu", log, "--parameters", "many", code=2)
