"""Target local: what this machine asks of local-runner and monitor, and what it reads in their answers."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

import deploy_place
import machine_checks
import trainyard_logtail
import trainyard_shell as shell
from deploy_place import ABSENT, LOOK_INTERVAL_S, UNFINISHED, Look, lessons_in
from deploy_siblings import Answer, Call, call, options, stream
from deploy_stage import MONITOR, Stage
from job_file.command import Command
from job_file.reading import Finding, needs_launcher, one_image
from trainyard_files import Unusable, tail
from trainyard_job import Job

if TYPE_CHECKING:
    from deployment import Deployment
    from run_state.record import Run, StageRecord

RUNNER = ("local-runner", "run_local.py")
CHECK = ("id", "status", "summary", "evidence", "fix")
SUBMIT_TIMEOUT_S = 300.0
"""A submit may first end what a lost supervisor left behind; the grace of its stop comes on top."""
SILENT_S = LOOK_INTERVAL_S + 120.0
"""A monitor that has no line for so long hangs, on a file system say; the job must not be waited for in vain."""
JOB_KEYS = ("name", "target", "source", "run", "python", "nodes", "procs_per_node", "env", "secrets", "checkpoints")
STAGES = (
    Stage("check", *RUNNER, "nothing", keys=(*JOB_KEYS, "monitor", "budget")),
    Stage("submit", *RUNNER, "the run folder, and the job's processes", keys=(*JOB_KEYS, "monitor", "budget")),
    Stage("watch", *RUNNER, "nothing", keys=("name",), uses_source=False),
    Stage("report", *MONITOR, "report.html in the run folder", keys=("name",), uses_source=False),
)


class Place(deploy_place.Place):
    """This machine."""

    keeps_record: ClassVar[bool] = True
    sees_hangs: ClassVar[bool] = True

    @staticmethod
    def findings(job: Job, command: Command | None) -> list[Finding]:
        several = [Finding("$.nodes", f"target local is one machine, not {job.nodes}")] if job.nodes > 1 else []
        return needs_launcher(job, command) + several + one_image(job)

    @staticmethod
    def stages(job: Job) -> tuple[Stage, ...]:
        return STAGES

    # --- before the submission ---

    def problems(self, deployment: Deployment, run: Run, *, strict: bool) -> list[shell.Check]:
        return machine_checks.ignored(deployment.job_file) + machine_checks.local(deployment.job_file, self.run_dir)

    def describe(self, deployment: Deployment, run: Run) -> dict[str, Any]:
        python = str(machine_checks.interpreter(deployment.job_file))
        return {"cost_usd": 0, "python": python, "processes": deployment.job_file.procs}

    def request(self, deployment: Deployment, run: Run, stage: str) -> Call:
        job_file = deployment.job_file
        document = {
            **msgspec.to_builtins(job_file.job),
            "source": str(job_file.source),
            "python": str(machine_checks.interpreter(job_file)),
            "run_id": run.run_id,
        }
        words = ["submit", "--run-dir", str(self.run_dir), "--request", "-", *options(dry_run=stage == "check")]
        if deployment.accepts:
            # The runner starts a finished run once for each specification: other source files are another one.
            words += ["--resume", "--accept-changes", "--env", f"TRAINYARD_SOURCE={deployment.inputs['source files']}"]
        return Call(words, document)

    def do(self, deployment: Deployment, run: Run, stage: str, request: Call) -> dict[str, Any]:
        timeout_s = SUBMIT_TIMEOUT_S + deployment.job.monitor.stop_grace_s
        return call(RUNNER, request, timeout_s=timeout_s).or_raise().data

    def again(self, run: Run, request: Call) -> Call:
        resume = [] if "--resume" in request.words else ["--resume"]
        return Call([*request.words, *resume], request.document)

    def recall(self, run: Run, record: StageRecord) -> dict[str, Any]:
        if "--accept-changes" in record.request and not _was_taken(record.call):
            return call(RUNNER, record.call, timeout_s=SUBMIT_TIMEOUT_S).or_raise().data
        return {"answer": "not read: the caller was killed; the runner holds the job"}

    # --- afterwards ---

    def status(self, run: Run) -> dict[str, Any]:
        answer = call(RUNNER, ["status", str(self.run_dir)])
        if answer.error_code == "not-found":
            return {"state": ABSENT}
        state = answer.or_raise().data.get("state")
        if not isinstance(state, str):
            raise shell.SkillError("internal", f"local-runner status has no state: {shell.clean(str(answer.document), 300)}")
        return answer.data

    def wait(self, run: Run, timeout_s: float) -> dict[str, Any]:
        answer = call(RUNNER, ["wait", str(self.run_dir), "--timeout", f"{timeout_s:.1f}"], timeout_s=timeout_s + 60)
        if answer.error_code != "timeout" or "state" not in answer.data:
            answer.or_raise()
        return answer.data

    def looks(self, run: Run, deadline: float) -> Iterator[Look]:
        """The monitor's stream, one process for the whole run; where it breaks off, a program each time."""
        left_s = max(0.0, deadline - time.monotonic())
        times = ["--interval", f"{LOOK_INTERVAL_S:g}", "--timeout-s", f"{left_s:.1f}"]
        words = ["watch", str(self.run_dir), *times, "--stall-factor", f"{run.monitor('stall_factor'):g}"]
        try:
            for told in stream(MONITOR, words, quiet=True, silent_s=SILENT_S):
                if isinstance(told, Answer) or told.get("state") in UNFINISHED:
                    break  # what became of a run without its supervisor the runner says
                if told.get("type") == "status" and isinstance(told.get("state"), str):
                    yield _look(told)
        except shell.SkillError:
            pass  # the job goes on, and so does whoever waits for it
        if time.monotonic() < deadline:
            yield from super().looks(run, deadline)

    def hangs(self, run: Run, look: Look) -> str | None:
        """By the runner's own rule, where the job file lets it only report."""
        rows = look.status.get("checks")
        found = [row for row in rows if row.get("id") == "run.hangs"] if isinstance(rows, list) else []
        return next((str(row.get("summary")) for row in found if row.get("status") == "fail"), None)

    def listed(self, run: Run | None) -> tuple[str, str | None]:
        return _states(self.run_dir.parent).get(self.run_dir.name, ABSENT), None

    def restart_point(self, run: Run) -> dict[str, Any] | None:
        point = self.progress(run).get("restart_point")
        return point if isinstance(point, dict) else None

    def progress(self, run: Run) -> dict[str, Any]:
        """The monitor's status."""
        try:
            answer = call(MONITOR, ["status", str(self.run_dir)])
        except shell.SkillError:
            return {}
        return answer.data if answer.ok else {}

    def health(self, run: Run, status: dict[str, Any]) -> list[shell.Check]:
        """The monitor's checks."""
        try:
            answer = self.ask_monitor(run, "health")
        except shell.SkillError as error:
            return [shell.Check("monitor", "unknown", f"the monitor did not answer: {error}", fix=error.hint or None)]
        if answer.checks:
            return answer.checks
        message = (answer.document.get("error") or {}).get("message", "no checks")
        return [shell.Check("monitor", "unknown", f"the monitor did not answer: {message}")]

    def trouble(self, run: Run, status: dict[str, Any]) -> list[str]:
        if status["state"] != "running":
            return []
        checks = self.health(run, status)
        return [f"{check.id}: {check.summary}" for check in checks if check.status == "fail"]

    def results(self, run: Run) -> dict[str, Any]:
        folder = self.run_dir / "checkpoints"
        return {"checkpoints": str(folder) if folder.is_dir() else None}

    def log_tail(self, run: Run) -> list[str]:
        path = max((self.run_dir / "logs").glob("attempt-*.log"), default=None)
        if path is None:
            return []
        try:
            lines = tail(path, trainyard_logtail.BYTES).decode("utf-8", errors="replace").splitlines()
        except (OSError, Unusable):
            return []
        return trainyard_logtail.error_tail(lines)

    def logs(self, run: Run, wish: dict[str, Any]) -> tuple[tuple[str, str], list[str]]:
        if wish["rank"] is not None or wish["previous"]:
            raise shell.SkillError("usage", "--rank and --previous are for pods", hint="on local: --attempt N")
        own = options(lines=wish["lines"], attempt=wish["attempt"], follow=wish["follow"])
        return RUNNER, ["logs", str(self.run_dir), *own]

    def stop(self, run: Run, *, now: bool, dry_run: bool) -> Answer:
        arguments = ["stop", str(self.run_dir), *options(now=now, dry_run=dry_run)]
        return call(RUNNER, arguments, timeout_s=SUBMIT_TIMEOUT_S + run.monitor("stop_grace_s")).or_raise()


def _was_taken(request: Call) -> bool:
    """Whether the runner holds this very specification: else it calls it a conflict. What has ended since is not started again."""
    words = [word for word in request.words if word != "--accept-changes"]
    return call(RUNNER, Call([*words, "--dry-run"], request.document)).error_code != "conflict"


def _look(told: dict[str, Any]) -> Look:
    """A line of the monitor's stream: its status, and the checks that do not pass."""
    rows = told.get("checks")
    checks = [shell.Check(**{key: row.get(key) for key in CHECK}) for row in rows] if isinstance(rows, list) else []
    trouble = [f"{check.id}: {check.summary}" for check in checks if check.status == "fail" and told["state"] == "running"]
    return Look(told, told, lambda: trouble, lessons_in(checks))


@functools.cache
def _states(runs: Path) -> dict[str, str]:
    """State by name of run folder, for every local run that was submitted in this folder."""
    answer = call(RUNNER, ["list", str(runs), "--limit", "1000"]).or_raise()
    return {Path(row["run_dir"]).name: str(row["state"]) for row in answer.data.get("runs", [])}
