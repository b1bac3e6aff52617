"""A validation loss that rises for long is a warning; one that wobbles is none."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import pytest
from monitor_call import call, check


def write(folder: Path, values: list[float]) -> Path:
    now = time.time()
    rows = []
    for number, value in enumerate(values, 1):
        for step in range(number * 10 - 9, number * 10 + 1):
            row = {"step": step, "time": now - 10 * len(values) + step, "incarnation": 1, "loss": 1.0, "step_s": 1.0}
            rows.append(row | ({"val_loss": value} if step % 10 == 0 else {}))
    folder.mkdir(exist_ok=True)
    (folder / "steps.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def judged(folder: Path, values: list[float]) -> dict[str, str]:
    told: dict[str, str] = check(call("health", write(folder, values), code=0), "validation.rising")
    return told


def test_a_rise_from_the_best_on_is_a_warning_that_names_the_best(tmp_path: Path) -> None:
    told = judged(tmp_path / "run", [3.0, 2.5, 2.2, 2.1, 2.15, 2.2, 2.3, 2.35, 2.4, 2.5, 2.55, 2.6])
    assert told["status"] == "warn"
    assert "from 2.1 to 2.6" in told["summary"] and "step 40" in told["fix"]


@pytest.mark.parametrize("kind", ["falls", "plateau", "short rise", "one jump", "too few"])
def test_what_is_no_rise_is_no_warning(tmp_path: Path, kind: str) -> None:
    noise = random.Random(7)
    values = {
        "falls": [3 / number for number in range(1, 40)],
        "plateau": [2 + noise.gauss(0, 0.02) for _ in range(60)],
        "short rise": [3.0, 2.5, 2.2, 2.0, 2.1, 2.2, 2.3],
        "one jump": [*(3 / number for number in range(1, 20)), 5.0, 0.17, 0.16],
        "too few": [2.0],
    }[kind]
    assert judged(tmp_path / "run", values)["status"] in ("pass", "skipped")
