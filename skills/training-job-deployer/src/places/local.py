"""What target local asks of local-runner and monitor, and what it reads in their answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

import deploy_checks
import trainyard_shell as shell
from deploy_place import ABSENT
from deploy_siblings import Answer, Call, call, make
from deploy_stages import MONITOR, RUNNER
from trainyard_files import Unusable, tail

if TYPE_CHECKING:
    from deploy_plan import Deployment
    from run_state.store import Run, StageRecord

SUBMIT_TIMEOUT_S = 300.0
"""A submit may first end what a lost supervisor left behind; the grace of its stop comes on top."""


@dataclass
class LocalPlace:
    """This machine; see deploy_place.Place."""

    run_dir: Path
    asks_yes: ClassVar[bool] = False

    # --- before the submission ---

    def problems(self, deployment: Deployment, run: Run, *, strict: bool) -> list[shell.Check]:
        return deploy_checks.ignored(deployment.job_file) + deploy_checks.local(deployment.job_file, self.run_dir)

    def describe(self, deployment: Deployment, run: Run) -> dict[str, Any]:
        python = str(deploy_checks.interpreter(deployment.job_file))
        return {"cost_usd": 0, "python": python, "processes": deployment.job_file.procs}

    def request(self, deployment: Deployment, run: Run, stage: str) -> Call:
        job_file = deployment.job_file
        document = {
            **msgspec.to_builtins(job_file.job),
            "source": str(job_file.source),
            "python": str(deploy_checks.interpreter(job_file)),
            "run_id": run.run_id,
        }
        words = ["submit", "--run-dir", str(self.run_dir), "--request", "-", *(["--dry-run"] if stage == "check" else [])]
        if deployment.accepts:
            # The runner starts a finished run once for each specification: other source files are another one.
            words += ["--resume", "--accept-changes", "--env", f"TRAINYARD_SOURCE={deployment.inputs['source files']}"]
        return Call(words, document)

    def do(self, deployment: Deployment, run: Run, stage: str, request: Call) -> dict[str, Any]:
        timeout_s = SUBMIT_TIMEOUT_S + deployment.job_file.job.monitor.stop_grace_s
        return make(RUNNER, request, timeout_s=timeout_s).or_raise().data

    def again(self, run: Run, request: Call) -> Call:
        resume = [] if "--resume" in request.words else ["--resume"]
        return Call([*request.words, *resume], request.document)

    def recall(self, run: Run, record: StageRecord) -> dict[str, Any]:
        request = Call(record.request, record.document)
        if "--accept-changes" in request.words and not _was_taken(request):
            return make(RUNNER, request, timeout_s=SUBMIT_TIMEOUT_S).or_raise().data
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

    def progress(self, run: Run) -> dict[str, Any]:
        """The monitor's status."""
        try:
            answer = call(MONITOR, ["status", str(self.run_dir)])
        except shell.SkillError:
            return {}
        return answer.data if answer.ok else {}

    def health(self, run: Run, status: dict[str, Any], stall_factor: float) -> list[shell.Check]:
        """The monitor's checks."""
        try:
            answer = call(MONITOR, ["health", str(self.run_dir), "--stall-factor", f"{stall_factor:g}"])
        except shell.SkillError as error:
            return [shell.Check("monitor", "unknown", f"the monitor did not answer: {error}", fix=error.hint or None)]
        if answer.checks:
            return answer.checks
        message = (answer.document.get("error") or {}).get("message", "no checks")
        return [shell.Check("monitor", "unknown", f"the monitor did not answer: {message}")]

    def trouble(self, run: Run, status: dict[str, Any], stall_factor: float) -> list[str]:
        if status["state"] != "running":
            return []
        checks = self.health(run, status, stall_factor)
        return [f"{check.id}: {check.summary}" for check in checks if check.status == "fail"]

    def lessons(self, run: Run, stall_factor: float) -> list[shell.Check]:
        return monitor_lessons(self.run_dir, stall_factor)

    def results(self, run: Run) -> dict[str, Any]:
        folder = self.run_dir / "checkpoints"
        return {"checkpoints": str(folder) if folder.is_dir() else None}

    def log_tail(self, run: Run) -> list[str]:
        path = max((self.run_dir / "logs").glob("attempt-*.log"), default=None)
        if path is None:
            return []
        try:
            lines = tail(path, 8192).decode("utf-8", errors="replace").splitlines()
        except (OSError, Unusable):
            return []
        return [shell.clean(line, 300) for line in lines[-15:]]

    def logs(self, run: Run, options: dict[str, Any]) -> tuple[tuple[str, str], list[str]]:
        if options["rank"] is not None or options["previous"]:
            raise shell.SkillError("usage", "--rank and --previous are for pods", hint="on local: --attempt N")
        given = {name: options[name] for name in ("lines", "attempt") if options[name] is not None}
        words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
        return RUNNER, ["logs", str(self.run_dir), *words, *(["--follow"] if options["follow"] else [])]

    def stop(self, run: Run, *, now: bool, dry_run: bool) -> Answer:
        arguments = ["stop", str(self.run_dir), *(["--now"] if now else []), *(["--dry-run"] if dry_run else [])]
        return call(RUNNER, arguments, timeout_s=SUBMIT_TIMEOUT_S + run.stop_grace_s).or_raise()

    def report(self, run: Run, output: str | None, stall_factor: float, *, dry_run: bool) -> tuple[Answer, list[shell.Check]]:
        return monitor_report(self.run_dir, output, stall_factor, dry_run=dry_run), []

    def clear(self, run: Run) -> list[str]:
        return []  # the next run has a folder of its own


def _was_taken(request: Call) -> bool:
    """Whether the runner holds this very specification: else it calls it a conflict. What has ended since is not started again."""
    words = [word for word in request.words if word != "--accept-changes"]
    return make(RUNNER, Call([*words, "--dry-run"], request.document)).error_code != "conflict"


def states(runs: Path) -> dict[str, str]:
    """State by name of run folder, for every local run that was submitted in this folder."""
    answer = call(RUNNER, ["list", str(runs), "--limit", "1000"]).or_raise()
    return {Path(row["run_dir"]).name: str(row["state"]) for row in answer.data.get("runs", [])}


LESSONS = ("restart.point", "run.trained")
"""Checks of the monitor that say what a run was worth, beside how it ended."""


def monitor_lessons(run_dir: Path, stall_factor: float) -> list[shell.Check]:
    """The monitor's warnings about a run that has ended; [] where it has none or does not answer."""
    try:
        checks = call(MONITOR, ["health", str(run_dir), "--stall-factor", f"{stall_factor:g}"]).checks
    except shell.SkillError:
        return []
    return [check for check in checks if check.id in LESSONS and check.status in ("warn", "fail")]


def monitor_report(run_dir: Path, output: str | None, stall_factor: float, *, dry_run: bool) -> Answer:
    more = [*(["--output", output] if output else []), *(["--dry-run"] if dry_run else [])]
    return call(MONITOR, ["report", str(run_dir), "--stall-factor", f"{stall_factor:g}", *more]).or_raise()
