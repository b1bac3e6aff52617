"""Where a restart begins is said: when it would begin at step 0, and when it did. So is a run that ended without a step."""

from __future__ import annotations

from pathlib import Path

import pytest
from monitor_call import call, check
from monitor_log_lines import tune
from monitor_run_writer import RunWriter


@pytest.fixture
def run(tmp_path: Path) -> RunWriter:
    run = RunWriter(tmp_path / "run")
    run.launch()
    return run


def steps(run: RunWriter, count: int) -> None:
    for _ in range(count):
        run.train()


def logs(run: RunWriter, *attempts: range) -> None:
    for number, steps in enumerate(attempts):
        path = run.path / "logs" / f"attempt-{number:04}.log"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(tune(step, 2.5) + "\n" for step in steps))


def said(run: RunWriter) -> dict[str, str]:
    """Of a run that has failed, so that health's answer is no."""
    return check(call("health", run.path, code=1), "restart.point")


def test_a_run_that_has_saved_nothing_would_begin_again(run: RunWriter) -> None:
    run.live()
    steps(run, 12)
    run.runner("failed")
    found = said(run)
    assert found["status"] == "warn" and "begins at step 0 and repeats 12 steps" in found["summary"]
    data = call("status", run.path)["data"]
    assert data["restart_point"] == {"step": 0, "restarts_from_step_0": 0}
    assert found["summary"] in data["notes"]


def test_a_saved_run_goes_on_from_its_checkpoint(run: RunWriter) -> None:
    run.live()
    steps(run, 10)
    run.commit()
    steps(run, 2)
    run.runner("failed")
    found = said(run)
    assert found["status"] == "pass" and "from step 10" in found["summary"]


def test_a_restart_that_found_nothing_to_restore_is_told_afterwards(run: RunWriter) -> None:
    run.live()
    steps(run, 8)
    run.die_with_attempt()
    run.launch()
    run.live(at=0)
    steps(run, 10)
    run.commit()
    run.runner("failed")
    found = said(run)
    assert found["status"] == "warn" and "1 restart began again at step 0" in found["summary"]
    page = Path(call("report", run.path)["data"]["path"]).read_text()
    assert "began again at step 0" in page


def test_a_damaged_step_that_a_restore_skipped_is_told_in_words(run: RunWriter) -> None:
    run.live()
    steps(run, 8)
    run.commit()
    run.die_with_attempt()
    run.launch()
    run.incarnation += 1
    damage = {"step": 8, "reason": "shard-00001: its xxh3_128 differs from the manifest's"}
    run.event("restored", step=4, seconds=0.1, requested="latest", skipped=[damage])
    run.runner("failed")
    found = check(call("health", run.path, code=1), "restore.skipped")
    assert found["status"] == "warn" and "skipped step 8" in found["summary"] and "from step 4" in found["summary"]
    assert found["evidence"] == f"step 8: {damage['reason']}"
    page = Path(call("report", run.path)["data"]["path"]).read_text()
    assert "skipped step 8: shard-00001" in page and "{&#x27;" not in page
    run.event("restored", step=4, seconds=0.1, requested="latest", skipped=[])
    assert check(call("health", run.path, code=1), "restore.skipped")["status"] == "pass"


def test_beginning_anew_on_request_is_no_loss(run: RunWriter) -> None:
    run.live()
    steps(run, 8)
    run.commit()
    run.die_with_attempt()
    run.incarnation += 1
    run.event("restored", step=0, seconds=0.0, requested="none", skipped=[])
    run.runner("failed")
    assert said(run)["status"] == "pass"


def test_only_the_last_step_was_saved(run: RunWriter) -> None:
    run.live()
    steps(run, 20)
    run.event("committed", step=20, seconds=0.1, bytes=4096, reasons=["final"])
    run.runner("finished")
    found = check(call("health", run.path), "restart.point")
    assert found["status"] == "warn" and "nothing was saved before the end" in found["summary"]


@pytest.mark.parametrize(
    ("attempts", "state", "status", "words"),
    [
        ((range(1, 21),), "failed", "warn", "would have begun at step 0, unless the script resumes by itself"),
        ((range(1, 21), range(1, 31)), "failed", "warn", "1 restart began again at step 0"),
        ((range(1, 21), range(1, 31), range(1, 5)), "finished", "warn", "2 restarts began again at step 0"),
        ((range(1, 21), range(16, 31)), "finished", "pass", "went on at step 16"),
    ],
)
def test_a_trainer_without_records_is_judged_by_its_logs(
    run: RunWriter, attempts: tuple[range, ...], state: str, status: str, words: str
) -> None:
    logs(run, *attempts)
    run.runner(state)
    answer = call("health", run.path, code=int(state == "failed"))
    found = check(answer, "restart.point")
    assert found["status"] == status and words in found["summary"]


def test_a_restart_of_a_script_whose_steps_nobody_can_read_is_not_called_harmless(run: RunWriter) -> None:
    for number in range(2):
        path = run.path / "logs" / f"attempt-{number:04}.log"
        path.parent.mkdir(exist_ok=True)
        path.write_text("[GPU0] Epoch 20 | Batchsize: 32 | Steps: 32\n")
    run.launch()
    run.runner("finished", attempt=1, restarts=1)
    found = check(call("health", run.path, code=1), "restart.point")
    assert found["status"] == "warn" and "whether training began again at step 0 is not known" in found["summary"]
    summary = call("report", run.path, "--output", run.path / "report.html")["data"]["summary"]
    assert (summary["restarts"], summary["kills_survived"], summary["goodput"], summary["account"]) == (1, None, None, None)


def test_exit_0_without_a_step_is_not_a_plain_pass(run: RunWriter) -> None:
    path = run.path / "logs" / "attempt-0000.log"
    path.parent.mkdir()
    path.write_text("this script needs 8 GPUs, bye\n")
    run.runner("finished")
    answer = call("health", run.path, code=1)
    found = check(answer, "run.trained")
    assert found["status"] == "warn" and "no training step can be seen" in found["summary"]
    logs(run, range(1, 21))
    assert check(call("health", run.path), "run.trained")["status"] == "pass"
