"""What a PyTorch job is to be: the job of every engine, what its own engines know beyond it, and the options of `create` for that."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import click
import trainyard_kube as kube
from trainyard_podjob import QUALIFIED, PodJob, match, usage
from trainyard_podjob_options import job_fields, several, text

ENGINES = ("pytorchjob", "trainjob", "hyperpodjob")
NAME = re.compile(r"[a-z](?:[-a-z0-9]{0,38}[a-z0-9])?")
"""DNS-1035 (the operators make Services of it), and short: pods append -worker-127 or -node-0-127-abcde."""


@dataclass(frozen=True, kw_only=True)
class JobRequest(PodJob):
    """One job, as asked for. Raises SkillError usage when it cannot be."""

    engine: str = "pytorchjob"
    pod_annotations: dict[str, str] = field(default_factory=dict)
    min_nodes: int | None = None
    max_nodes: int | None = None
    runtime: str = "torch-distributed"
    """Of a TrainJob: the ClusterTrainingRuntime."""
    hyperpod: dict[str, Any] | None = None
    """Of a HyperPodPyTorchJob: the section `hyperpod` of its request."""

    def __post_init__(self) -> None:
        match("name", self.name, NAME, "a-z first, then a-z, 0-9 and -, at most 40 characters")
        super().__post_init__()
        if not self.command:
            raise usage("a job needs a command", "create NAME ... -- torchrun train.py")
        kube.name_or_raise("runtime", self.runtime)
        for key in self.pod_annotations:
            match("key", key, QUALIFIED, "for example topology.kubernetes.io/zone")
        self._check_elastic()
        self._check_hyperpod()

    def _check_elastic(self) -> None:
        if self.min_nodes is None and self.max_nodes is None:
            return
        if self.engine != "pytorchjob" or self.min_nodes is None or self.max_nodes is None:
            raise usage("elastic jobs are PyTorchJobs with --min-nodes and --max-nodes", "--engine pytorchjob")
        if not 1 <= self.min_nodes <= self.nodes <= self.max_nodes:
            raise usage(f"--nodes {self.nodes} is not within {self.min_nodes} and {self.max_nodes}", "min <= nodes <= max")

    def _check_hyperpod(self) -> None:
        if self.hyperpod is None:
            return
        if self.engine != "hyperpodjob":
            raise usage("$.hyperpod: is for engine hyperpodjob alone", "leave it out, or --engine hyperpodjob")
        import msgspec
        from trainyard_hyperpod import HyperPod, contradictions

        given = msgspec.convert(self.hyperpod, HyperPod)
        for path, problem in contradictions(given, nodes=self.nodes, grace_s=self.grace_s, queue=self.queue):
            raise usage(f"$.hyperpod.{path}: {problem}", "correct the request")

    @property
    def elastic(self) -> bool:
        return self.min_nodes is not None


# --- its options -------------------------------------------------------------------------------------------------


class RunId(click.types.StringParamType):
    """A run id; where it is missing, where to find it."""

    def get_missing_message(self, *_: Any, **__: Any) -> str:  # click 8.1 calls it with one argument, 8.2 with two
        return "`list` shows that of each job, and run.json of the run has it"


OWN = [
    click.option("--engine", default="pytorchjob", show_default=True, type=click.Choice(ENGINES), help="Kind of the job."),
    several("--pod-annotation", "pod_annotations", "K=V", "Annotation of the pods; may be repeated."),
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
    if request and request.hyperpod:
        import msgspec

        fields["hyperpod"] = msgspec.to_builtins(request.hyperpod)
    return JobRequest(**fields)
