"""budget.max_hours: hours of running over all starts, then the run is stopped as by `stop`."""

from __future__ import annotations

import pytest

FAMILY = ["python", "family.py"]
SHORT = 2.0 / 3600


def test_a_run_is_stopped_when_its_hours_are_over_and_had_time_to_save(run):
    run.submit("--max-hours", f"{SHORT:.6f}", "--stop-grace-s", "30", job=[*FAMILY, "--saves"])
    data = run.wait().data
    assert (data["state"], data["exit_code"]) == ("stopped", 143)
    assert data["reason"].startswith("stopped by budget.max_hours (0.000")
    assert (run.folder / "saved").exists()
    assert run.processes() == set()


def test_without_a_budget_or_with_a_large_one_nothing_is_stopped(run):
    run.submit("--max-hours", "1", job=["python", "-c", "import time; time.sleep(3)"])
    assert run.wait().data["state"] == "finished"


def test_the_hours_of_all_starts_count_and_a_resume_without_any_left_is_refused(run):
    job = [*FAMILY, "--saves"]
    run.submit("--max-hours", f"{SHORT:.6f}", "--stop-grace-s", "30", job=job)
    run.wait()
    refused = run.submit("--max-hours", f"{SHORT:.6f}", "--stop-grace-s", "30", "--resume", job=job)
    assert (refused.code, refused.document["error"]["code"]) == (5, "conflict")
    assert "is used up" in refused.document["error"]["message"]
    more = ["--max-hours", f"{2 * SHORT:.6f}", "--stop-grace-s", "30", "--resume", "--accept-changes"]
    run.submit(*more, job=job)
    data = run.wait().data
    assert data["state"] == "stopped" and "budget.max_hours" in data["reason"]
    spent_s = [event["time"] for event in run.events("attempt-ended")][-1] - [event["time"] for event in run.events("attempt")][
        -1
    ]
    assert spent_s < 4, "the two seconds of the first start were counted"


@pytest.mark.parametrize("wrong", ["0", "-1", "nan", "much"])
def test_hours_that_cannot_be_meant_are_a_usage_error(run, wrong):
    assert run.submit("--max-hours", wrong, job=["python", "-c", "pass"]).code == 2
