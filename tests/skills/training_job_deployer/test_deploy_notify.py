"""`notify` in a job file: who is named is called while `run` watches, and a run does not depend on it."""

from __future__ import annotations

import json
import sys

import pytest
from deployer_calls import Project, deploy

KEEPS = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read() + chr(10))"


@pytest.fixture(autouse=True)
def state(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where is remembered what was sent: the test's own place."""
    monkeypatch.setenv("XDG_STATE_HOME", str(project.folder / "state"))


def test_the_end_is_told(project: Project) -> None:
    """Once, with the run's name; the words of the command arrive as they stand in the job file."""
    file = project.folder / "alerts of a run.jsonl"
    project.write_job(notify={"command": [sys.executable, "-c", KEEPS, str(file)]})
    assert deploy("run", project.job).data["state"] == "finished"
    told = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(each["alert"], each["run"]) for each in told] == [("finished", "toy")]
    deploy("run", project.job)
    assert len(file.read_text().splitlines()) == 1


def test_nobody_is_there(project: Project) -> None:
    """The plan warns; the run ends as it would."""
    project.write_job(notify={"webhook": "NO_SUCH_URL", "command": ["/nonexistent/notify"]})
    plan = deploy("plan", project.job)
    assert (plan.check("notify.webhook")["status"], plan.check("notify.command")["status"]) == ("warn", "warn")
    done = deploy("run", project.job)
    assert done.data["state"] == "finished" and "NO_SUCH_URL" in done.stderr


@pytest.mark.parametrize(
    "notify", [{"webhook": "https://hooks.example/T0/x"}, {"command": []}, {"command": "sh -c x"}, {"mail": "me"}]
)
def test_words_that_cannot_be_used(project: Project, notify: dict[str, object]) -> None:
    project.write_job(notify=notify)
    assert deploy("plan", project.job).error["code"] == "usage"
