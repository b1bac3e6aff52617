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
