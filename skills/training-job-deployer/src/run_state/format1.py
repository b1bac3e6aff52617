"""run.json of format 1, in which the call that made a job was kept as command-line options -> the request of format 2."""

from __future__ import annotations

from typing import Any

from on_kubernetes.request import request_document, words_with_request
from run_state.record import Run

OF_THE_CLUSTER = ("--context", "--namespace", "--cluster-id")
FLAGS = ("--resume", "--accept-changes")


def upgrade(run: Run) -> None:
    """In place. What the options said is in run.json already: the job file as read, and the answers of the stages before."""
    run.format = 2
    submission = run.submission
    if submission is None or submission.document is not None:
        return
    request = submission.request
    options = request[: request.index("--")] if "--" in request else request
    value = {name: options[index + 1] for index, name in enumerate(options[:-1]) if name.startswith("--")}
    if run.target == "local":
        source = [word for word in options if word.startswith("TRAINYARD_SOURCE=")]
        words = ["submit", "--run-dir", value["--run-dir"], "--request", "-"]
        submission.request = words + [flag for flag in FLAGS if flag in options] + [w for s in source for w in ("--env", s)]
        submission.document = {**run.job, "source": value["--workdir"], "python": value["--python"], "run_id": run.run_id}
        return
    where = [word for name in OF_THE_CLUSTER if name in value for word in (name, value[name])]
    fit, network = _answer(run, "fit"), _answer(run, "network")
    submission.request = words_with_request("create", run.name, where)
    submission.document = request_document(run.job, run.run_id, run.starts, fit, network, value.get("--claim"))


def _answer(run: Run, stage: str) -> dict[str, Any]:
    return run.stages[stage].result if stage in run.stages else {}
