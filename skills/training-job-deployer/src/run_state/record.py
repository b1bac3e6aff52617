"""What run.json holds: which run this is, what was begun, what is done."""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from deploy_siblings import Call
from deploy_stage import SUBMISSIONS
from trainyard_job import Monitor

FORMAT = 2
"""2: the request of a job on a cluster is a document."""


class StageRecord(Struct, kw_only=True):
    """One stage of the run. `begun` without `ended`: the call was made, its answer was never read."""

    digest: str
    program: str
    begun: float
    ended: float | None = None
    request: list[str] = []
    """The arguments of the call, so that a repeated call is the same call."""
    document: dict[str, Any] | None = None
    """What the call reads on stdin: a request (trainyard_job.Request)."""
    result: dict[str, Any] = {}

    @property
    def call(self) -> Call:
        return Call(self.request, self.document)


class Restarted(Struct, kw_only=True):
    """A restart that `watch --restart` made, and the failure before it."""

    start: int
    """`starts` of the run that failed."""
    time: float
    cause: str
    """The doctor's."""
    kind: str
    """RESTART or RESTART_ELSEWHERE."""
    step: int | None = None
    """The highest step that was reached by then."""
    attempt: int | None = None
    avoid: str | None = None
    """A node with a fault, which this restart and those after it keep away from."""


class Run(Struct, kw_only=True):
    """The content of run.json."""

    format: int = FORMAT
    run_id: str
    name: str
    target: str
    job_file: str
    run_dir: str = ""
    """Where run.json was first written: a folder with the same run id elsewhere was moved, or is a copy."""
    created: float
    job: dict[str, Any] = {}
    """The job file as read, without secret values (it never has any)."""
    added: list[str] = []
    """Arguments after the job file's command, which make this a separate run."""
    inputs: dict[str, str] = {}
    """Digest of each input of the submission: the job file's keys, and `source`."""
    cluster: dict[str, Any] = {}
    """context, server, cluster_id and namespace, once a cluster answered: later verbs go there and nowhere else."""
    stages: dict[str, StageRecord] = field(default_factory=dict)
    starts: int = 0
    """How often the job was submitted: the launcher in a pod tells a user's resume from a pod made anew by it."""
    earlier_s: float = 0.0
    """Seconds that the starts before this one took, from submission to end."""
    stopped: StageRecord | None = None
    """The last `stop` on a cluster, until a resume: what is gone there was ended by its user."""
    restarts: list[Restarted] = []
    """Those since its user started it last, oldest first."""
    ended_as_hung: bool = False
    """`watch --restart` ends it because it hangs: until the next start its state `stopped` or `gone` is not its user's."""
    stop_asked: bool = False
    """Its user called `stop` since it was started last, of one that had failed already perhaps: nobody starts it again unasked."""

    def monitor(self, key: str) -> Any:
        """A number under `monitor` in the job file as submitted; its default where there is none."""
        given = self.job.get("monitor")
        value = given.get(key) if isinstance(given, dict) else None
        return value if isinstance(value, int | float) else getattr(Monitor(), key)

    @property
    def avoided(self) -> list[str]:
        """Nodes that its restarts keep away from, until its user starts it."""
        return list(dict.fromkeys(each.avoid for each in self.restarts if each.avoid))

    @property
    def submission(self) -> StageRecord | None:
        """The record of the stage that starts the job; None: it was never called."""
        return next((self.stages[name] for name in SUBMISSIONS if name in self.stages), None)

    def done(self, stage: str, digest: str) -> bool:
        record = self.stages.get(stage)
        return record is not None and record.ended is not None and record.digest == digest


def new(name: str, target: str, job_file: Path) -> Run:
    return Run(run_id=secrets.token_hex(8), name=name, target=target, job_file=str(job_file), created=time.time())
