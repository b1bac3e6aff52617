"""The options of `create`, and what they make: a JobRequest."""

from __future__ import annotations

from typing import Any

import click
from ptjob_request import ENGINES, JobRequest
from trainyard_podjob_options import job_fields, text


class RunId(click.types.StringParamType):
    """A run id; where it is missing, where to find it."""

    def get_missing_message(self, *_: Any, **__: Any) -> str:  # click 8.1 calls it with one argument, 8.2 with two
        return "`list` shows that of each job, and run.json of the run has it"


OWN = [
    click.option("--engine", default="pytorchjob", show_default=True, type=click.Choice(ENGINES), help="Kind of the job."),
    text("--pod-annotation", "K=V", "Annotation of the pods; may be repeated.", multiple=True),
    click.option("--min-nodes", type=click.IntRange(1), help="Elastic (pytorchjob): smallest number of nodes."),
    click.option("--max-nodes", type=click.IntRange(1), help="Elastic (pytorchjob): largest number of nodes."),
    text("--runtime", "NAME", "trainjob: ClusterTrainingRuntime.", default="torch-distributed", show_default=True),
]


def request_of(name: str | None, command: tuple[str, ...], given: dict[str, Any]) -> JobRequest:
    """Raises SkillError usage."""
    import trainyard_request

    fields, request = job_fields(name, command, given)
    if request and request.engine and not trainyard_request.was_said("engine"):
        fields["engine"] = request.engine
    return JobRequest(**fields)
