"""What the targets eks and hyperpod ask of the managers' programs, and what is read in their answers. No Kubernetes in here."""

from __future__ import annotations

import functools
import shlex
import time
from typing import TYPE_CHECKING, Any, ClassVar

import deploy_checks
import deploy_place
import trainyard_endless
import trainyard_logtail
import trainyard_shell as shell
from deploy_place import ABSENT, ENDED, Look
from deploy_siblings import Answer, Call, call, options
from on_kubernetes import bad_nodes, calls, plan, states
from on_kubernetes.findings import findings
from on_kubernetes.health import judge, stalled
from on_kubernetes.progress import progress_of
from on_kubernetes.stages import POD_FILES, RAY, manager, stages
from trainyard_request import words_of

if TYPE_CHECKING:
    from deployment import Deployment
    from run_state.record import Run, StageRecord

PROGRESS_LINES = 200
READY_TIMEOUT_S = 900.0
"""For the pods of a Ray cluster: large images take minutes to be pulled."""


class KubernetesPlace(deploy_place.Place):
    """A Kubernetes cluster."""

    asks_yes: ClassVar[bool] = True
    has_volume: ClassVar[bool] = True
    has_other_nodes: ClassVar[bool] = True
    was_let_in = False
    """Whoever waits for a job of weeks outlives the credentials that its first look was made with."""

    @functools.cached_property
    def standing(self) -> trainyard_endless.Standing:
        """With `was_let_in` all that a place remembers."""
        return trainyard_endless.Standing()

    findings = staticmethod(findings)
    stages = staticmethod(stages)

    # --- before the submission ---

    def problems(self, deployment: Deployment, run: Run, *, strict: bool) -> list[shell.Check]:
        if run.submission is not None:
            told = "the job was submitted: the cluster is not asked again whether it fits"
            return [shell.Check("fit", "skipped", told)]
        job = deployment.job
        checks = plan.problems(deployment, run, strict=strict)
        saving = deploy_checks.saving(deployment.job_file)
        called = deploy_checks.notify(job)
        return [*checks, saving, *called, deploy_checks.grace(self.run_dir, job.monitor.stop_grace_s)]

    def describe(self, deployment: Deployment, run: Run) -> dict[str, Any]:
        return plan.describe(deployment, run)

    def request(self, deployment: Deployment, run: Run, stage: str) -> Call:
        return plan.request(deployment, run, stage)

    def do(self, deployment: Deployment, run: Run, stage: str, request: Call) -> dict[str, Any]:
        result = plan.result(deployment, stage, request)
        if stage == "deploy" and deployment.job.engine == "raycluster":
            _submit_on_ray(run, list(deployment.job_file.command.words))
        return result

    def again(self, run: Run, request: Call) -> Call:
        return Call(request.words, bad_nodes.avoiding(run, {**(request.document or {}), "start": run.starts}))

    def recall(self, run: Run, record: StageRecord) -> dict[str, Any]:
        """The same call again: it changes nothing and answers what the first one would have."""
        answer = call(_manager(run), record.call).or_raise()
        if run.job.get("engine") == "raycluster":
            _submit_on_ray(run, words_of(str(run.job["run"])))
        return answer.data

    # --- afterwards ---

    def status(self, run: Run) -> dict[str, Any]:
        if run.submission is None:
            return {"state": ABSENT}
        return self._read(run, _ask(run, "status"))

    def wait(self, run: Run, timeout_s: float) -> dict[str, Any]:
        try:
            status = self._read(run, _ask(run, "wait", "--timeout", f"{max(timeout_s, 1.0):.1f}", timeout_s=timeout_s + 60))
        except shell.SkillError as error:
            if error.code != "unreachable" and not (error.code == "credentials" and self.was_let_in):
                raise
            time.sleep(timeout_s)  # the job goes on without its API server, and so does whoever waits for it
            return {"state": "unreachable", "reason": str(error)}
        self.was_let_in = True
        return status

    def as_monitored(self, run: Run) -> list[str]:
        return [run.name, *calls.where(run)]

    def is_gone(self, status: dict[str, Any]) -> bool:
        return states.is_gone(status)

    def hangs(self, run: Run, look: Look) -> str | None:
        """Its launcher ends what hangs; what it does not see is a step line that does not come."""
        return stalled(look.status, look.progress, run.monitor("stall_factor"))

    def checkpoint_list(self, run: Run) -> str:
        return shlex.join(["pod_checkpoints.py", *calls.on_its_volume(run, "list")])

    def roll_back(self, run: Run, step: int, *, dry_run: bool) -> Answer:
        """Through a helper pod with the job's image and user."""
        request = calls.roll_back(run, step, dry_run=dry_run, timeout_s=deploy_place.ROLL_BACK_S)
        return call(POD_FILES, request, timeout_s=deploy_place.ROLL_BACK_S + 60).or_raise()

    def repairs(self, run: Run, node: str | None) -> list[str]:
        return bad_nodes.commands(run, node)

    def leave_node(self, run: Run, node: str, *, yes: bool, deadline: float) -> tuple[list[shell.Check], bool]:
        return bad_nodes.leave(run, node, yes=yes, deadline=deadline)

    def endless(self, status: dict[str, Any]) -> shell.Check | None:
        if status["state"] == "unreachable":
            return None
        found = self.standing.endless({**status, "findings": states.findings(status)})
        if found is None:
            return None
        return shell.Check("run.endless", "fail", trainyard_endless.sentence(status, found), fix=found["fix"] or None)

    def listed(self, run: Run | None) -> tuple[str, str | None]:
        recorded = states.as_recorded(run) if run else ABSENT
        # whether it still is, only the cluster knows
        return "submitted" if recorded == "gone" else recorded, f"on {run.target}, as last recorded here" if run else None

    def _read(self, run: Run, answer: Answer) -> dict[str, Any]:
        if answer.error_code == "not-found":
            if _is_absent(run):
                return {"state": states.as_recorded(run), "reason": states.reason_of(run)}
            answer = _ask(run, "status")  # it was made between the two looks
        data = answer.data
        if "state" not in data or answer.error_code not in (None, "timeout"):
            answer.or_raise()
        if (other := data.get("run_id")) != run.run_id:
            whose = f"belongs to run {shell.clean(str(other), 40)}" if other else "was not made by trainyard"
            message = f"the job {run.name} on the cluster {whose}; it is not run {run.run_id}'s"
            raise shell.SkillError("conflict", message, hint="another name in the job file, or another namespace")
        return states.as_told(run, data)

    def progress(self, run: Run) -> dict[str, Any]:
        """From the last step line of rank 0's log."""
        if run.submission is None:
            return {}
        # Ray's log is the driver's, and has what every rank printed; with --rank it is that of a node without a job
        rank = [] if _manager(run) == RAY else ["--rank", "0"]
        try:
            answer = _ask(run, "logs", "--lines", str(PROGRESS_LINES), *rank)
        except shell.SkillError:
            return {}
        return progress_of(answer.data.get("lines"), answer.data.get("times"), time.time()) if answer.ok else {}

    def health(self, run: Run, status: dict[str, Any]) -> list[shell.Check]:
        return judge(status, run.monitor("stall_factor"))

    def lessons(self, run: Run) -> list[shell.Check]:
        """From what `report` fetched from the volume; [] without it."""
        return super().lessons(run) if (self.run_dir / "events.jsonl").exists() else []

    def trouble(self, run: Run, status: dict[str, Any]) -> list[str]:
        if status["state"] in ENDED:
            return []
        if status["state"] == "unreachable":
            return [f"{status['reason']}; still waiting"]
        nodes = status.get("nodes") or {}
        told = f"{status['state']}: {nodes.get('running', 0)} of {nodes.get('wanted', '?')} nodes run"
        return [told, *(f"{each['id']}: {each['summary']}; {each['fix']}" for each in states.findings(status))]

    def results(self, run: Run) -> dict[str, Any]:
        claim, folder = calls.claim_of(run), calls.result_of(run, run.submission).get("run_dir")
        if not claim:
            return {"checkpoints": None, "claim": None}
        return {"checkpoints": f"{folder}/checkpoints" if folder else None, "claim": claim}

    def log_tail(self, run: Run) -> list[str]:
        try:
            answer = _ask(run, "logs", "--lines", "100")
        except shell.SkillError:
            return []
        lines = answer.data.get("lines")
        return trainyard_logtail.error_tail([str(line) for line in lines]) if isinstance(lines, list) else []

    def logs(self, run: Run, wish: dict[str, Any]) -> tuple[tuple[str, str], list[str]]:
        if wish["attempt"] is not None:
            raise shell.SkillError("usage", "--attempt is for target local", hint="on a cluster: --previous, --rank N")
        own = options(**{name: wish[name] for name in ("lines", "rank", "follow", "previous")})
        return _manager(run), calls.of_this_run(run, "logs", *own)

    def stop(self, run: Run, *, now: bool, dry_run: bool) -> Answer:
        """Deletes the job's object: its pods get SIGTERM and the grace. The claim stays."""
        if now:
            raise shell.SkillError("usage", "--now is for target local", hint="on a cluster the grace is monitor.stop_grace_s")
        if dry_run and states.is_gone(self.status(run)):
            return Answer(0, {"ok": True, "data": {"state": states.as_recorded(run)}, "checks": calls.kept_volume(run)})
        answer = _delete(run, dry_run=dry_run)  # of an object that is gone too: its pods may still be saving
        document = {**answer.document, "checks": [*answer.document.get("checks", []), *calls.kept_volume(run)]}
        return Answer(answer.exit_code, document)

    def report(self, run: Run, output: str | None, *, dry_run: bool) -> tuple[Answer, list[shell.Check]]:
        """The run's files come from the volume into the run folder; without them the report has what is there already."""
        notes = [] if dry_run else self._fetch(run)
        answer, _ = super().report(run, output, dry_run=dry_run)
        return answer, notes

    def _fetch(self, run: Run) -> list[shell.Check]:
        try:
            pods = self.status(run).get("pods")
            asked = calls.fetch(run, self.run_dir, pods if isinstance(pods, list) else [])
            if asked is None:
                return [shell.Check("report.files", "warn", "without checkpoints.storage the run's files end with its pods")]
            answer = call(POD_FILES, asked, timeout_s=calls.FETCH_TIMEOUT_S + 60).or_raise()
        except shell.SkillError as error:
            summary = f"the run's files could not be fetched from {calls.claim_of(run)}: {error}"
            return [shell.Check("report.files", "warn", summary, fix=error.hint or None)]
        return [check for check in answer.checks if check.status in ("warn", "fail", "unknown")]

    def clear(self, run: Run) -> list[str]:
        """Only what has ended; what still lives is refused before. Returns when the pods are gone too."""
        if run.submission is None:
            return []
        return [str(each) for each in _delete(run, dry_run=False).document.get("changed", [])]


def _manager(run: Run) -> tuple[str, str]:
    return manager(calls.engine_of(run))


def _ask(run: Run, verb: str, *words: str, timeout_s: float = 120.0) -> Answer:
    """The manager about the very object of this run."""
    return call(_manager(run), calls.of_this_run(run, verb, *words), timeout_s=timeout_s)


def _is_absent(run: Run) -> bool:
    """`not-found` may be said of a kubeconfig or a CRD too: that the job is gone is believed when the cluster lists the others.

    Not where its kind may not be listed, nor where the list is cut: then nobody knows.
    """
    answer = call(_manager(run), ["list", "--limit", "1000", *calls.where(run)]).or_raise()
    jobs, engine = answer.data.get("jobs"), calls.engine_of(run)
    for check in answer.checks:
        if check.status == "unknown" and check.id in (engine, f"list.{engine}"):
            raise shell.SkillError("permission", f"whether {run.name} is gone: {check.summary}", hint=check.fix or "")
    if not isinstance(jobs, list) or answer.document.get("truncated"):
        return False
    return all(row.get("run_id") != run.run_id for row in jobs)


def _delete(run: Run, *, dry_run: bool) -> Answer:
    timeout_s = run.monitor("stop_grace_s") + 120
    do = "--dry-run" if dry_run else "--yes"
    return _ask(run, "delete", "--timeout", f"{timeout_s:.0f}", do, timeout_s=timeout_s + 60).or_raise()


def _submit_on_ray(run: Run, words: list[str]) -> None:
    """A RayCluster has no command of its own: once it is ready, the job is submitted to it, under the run id."""
    shell.progress(f"deploy: waiting for the Ray cluster {run.name}")
    ready = _ask(run, "wait", "--ready", "--timeout", f"{READY_TIMEOUT_S:.0f}", timeout_s=READY_TIMEOUT_S + 60).or_raise()
    if not ready.ok:
        message = f"the Ray cluster {run.name} is {ready.data.get('state')}: {ready.data.get('reason')}"
        raise shell.SkillError("conflict", shell.clean(message, 400), hint="`status` has its findings")
    call(RAY, ["submit", run.name, "--run-id", run.run_id, *calls.where(run), "--", *words]).or_raise()
