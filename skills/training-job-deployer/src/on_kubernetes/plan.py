"""The stages of a cluster before the submission: each program asked once, those that make nothing first."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

import trainyard_shell as shell
from deploy_siblings import Call, call, options
from on_kubernetes import calls, images, volume_owner
from on_kubernetes.findings import STORAGES
from on_kubernetes.request import network_arguments, request_document, words_with_request
from trainyard_job import RAY_ENGINES, Job

if TYPE_CHECKING:
    from deployment import Deployment
    from run_state.record import Run

CALL_TIMEOUT_S = 180.0
HARMLESS = ("fit", "network", "check")
"""Stages that make nothing: a plan asks them too."""
MAX_NODES_TOLD = 16
REFERENCE = re.compile(
    r"([a-z0-9.-]+(:\d+)?/)?[a-z0-9]+([._/-]+[a-z0-9]+)*(:\w[\w.-]{0,127})?(@sha256:[0-9a-f]{64})?", re.ASCII
)
"""An image, as registries take it (github.com/distribution/reference); a registry's name is written small here."""
REFUSALS = ("usage", "not-found", "conflict", "permission")


def problems(deployment: Deployment, run: Run, *, strict: bool) -> list[shell.Check]:
    """`strict`: a program's error is raised; else it becomes a check, and what depends on it is skipped."""
    checks = [*_image(deployment), *_unused(deployment)]
    if any(check.status == "fail" for check in checks):
        return checks
    refused: shell.SkillError | None = None
    for name in _questions(deployment, run):
        if refused is None and any(check.status == "fail" for check in checks):
            checks.append(shell.Check(name, "skipped", "it depends on what failed"))
            continue
        try:
            checks += images.problems(deployment) if name == "build" else _ask(deployment, run, name)
        except shell.SkillError as error:
            status = "fail" if error.code in REFUSALS else "unknown"
            checks.append(shell.Check(name, status, str(error), fix=error.hint or None))
            refused = refused or error
            if name != "check":  # whether the name is free changes nothing for what stands behind it
                break
    checks += volume_owner.check(deployment) + _budget(deployment, run)
    if strict and refused is not None:
        refused.checks = [*refused.checks, *checks]
        raise refused
    return checks


def _questions(deployment: Deployment, run: Run) -> list[str]:
    stages = [stage.name for stage in deployment.before_submission() if stage.name in ("build", *HARMLESS, "storage")]
    open_ = [name for name in stages if not deployment.done(run, name)]
    return [name for name in open_ if not (name == "check" and deployment.replaces)]


def _ask(deployment: Deployment, run: Run, name: str) -> list[shell.Check]:
    asked = request(deployment, run, name)
    if not asked.words:
        return [shell.Check(name, "skipped", "no instance type is named, so nothing of its network is set")]
    dry = _dry(asked) if name == "storage" else asked
    answer = call(_program(deployment, name), dry, timeout_s=CALL_TIMEOUT_S).or_raise()
    deployment.answers[name] = answer
    if not answer.ok and not answer.checks:
        return [shell.Check(name, "fail", f"{_program(deployment, name)[0]} refused and gave no reason")]
    return answer.checks


def request(deployment: Deployment, run: Run, name: str) -> Call:
    """What a stage asks; no words when it has nothing to do."""
    if name in images.NAMES:
        return images.request(deployment, run, name)
    job, where = deployment.job, calls.where(run, deployment.job)
    fit, network = data(deployment, run, "fit"), data(deployment, run, "network")
    if name == "network":
        return Call(network_arguments(job, fit))
    values = {**msgspec.to_builtins(job), "image": {"uri": images.reference(deployment, run)}}
    if name == "fit":
        claim = calls.claim_of(run) or (job.checkpoints.storage.claim if job.checkpoints.storage else None)
        document = request_document(values, run.run_id, run.starts, {}, {}, claim)
        return Call(["fit", "-", *options(claim=claim), *where], document)
    document = request_document(values, run.run_id, run.starts, fit, network, _claim(deployment, run))
    verb = "ensure-volume" if name == "storage" else "create"
    asked = Call(words_with_request(verb, job.name, where), document)
    return _dry(asked) if name == "check" else asked


def result(deployment: Deployment, name: str, asked: Call) -> dict[str, Any]:
    """Does a stage, unless its answer is here already."""
    if name in images.NAMES:
        return images.do(deployment, name, asked)
    if not asked.words:
        return {"skipped": "no instance type"}
    if name in HARMLESS and name in deployment.answers:
        return deployment.answers[name].data
    answer = call(_program(deployment, name), asked, timeout_s=CALL_TIMEOUT_S).or_raise()
    failed = next((check for check in answer.checks if check.status == "fail"), None)
    if not answer.ok and (failed or not answer.checks):
        told = failed.summary if failed else "it refused and gave no reason"
        raise shell.SkillError("conflict", f"{name}: {told}", hint=(failed.fix if failed else "") or "", checks=answer.checks)
    changed = answer.document.get("changed")
    return {**answer.data, "changed": changed if isinstance(changed, list) else []}


def data(deployment: Deployment, run: Run, name: str) -> dict[str, Any]:
    """What a stage answered: in this call, or in an earlier one for the same inputs."""
    if name in deployment.answers:
        return deployment.answers[name].data
    return run.stages[name].result if deployment.done(run, name) or (run.submission and name in run.stages) else {}


def _claim(deployment: Deployment, run: Run) -> str | None:
    storage = deployment.job.checkpoints.storage
    if storage is None:
        return None
    return calls.claim_of(run) or storage.claim or f"{run.name}-{run.run_id[:8]}"


def describe(deployment: Deployment, run: Run) -> dict[str, Any]:
    """Where, on what, at what price, and what will be made."""
    job, fit = deployment.job, data(deployment, run, "fit")
    made, usd = [*_made(job), *_puts_out(fit)], fit.get("usd_per_hour")
    price = f"{usd:.2f} USD an hour" if isinstance(usd, int | float) else "a price that is not known"
    of_the_fit = ("zone", "instance_type", "pod", "procs_per_node", "missing")
    nodes = fit.get("nodes") or []
    return {
        "summary": f"start {job.name}: {', '.join(made)}; {price}",
        "cost_usd": None,
        "usd_per_hour": usd,
        "budget": _hours(job.budget.max_usd if job.budget else None, usd),
        "cluster": run.cluster or fit.get("cluster"),
        "engine": job.engine or "pytorchjob",
        "image": images.describe(deployment, run) if images.is_built(job) else job.image.uri if job.image else None,
        "nodes": nodes[:MAX_NODES_TOLD],
        "node_count": len(set(nodes)),
        **{key: fit.get(key) for key in of_the_fit},
        "claim": calls.claim_of(run) or (job.checkpoints.storage.claim if job.checkpoints.storage else None),
        "makes": made,
    }


def _budget(deployment: Deployment, run: Run) -> list[shell.Check]:
    budget = deployment.job.budget
    if budget is None:
        return []
    checks = []
    if budget.max_hours is not None:
        told = f"`run`, `resume` and `watch` stop the job {budget.max_hours:g} hours after its submission; nothing stops a job that nobody watches"
        checks = [shell.Check("budget.max_hours", "pass", told)]
    if budget.max_usd is None:
        return checks
    hours = _hours(budget.max_usd, data(deployment, run, "fit").get("usd_per_hour"))
    if hours is None or hours["hours"] is None:
        told = "the price per hour is not known, so it cannot be computed how long the budget lasts"
        return [*checks, shell.Check("budget", "warn", told)]
    told = f"{budget.max_usd:g} USD last {hours['hours']:g} hours; nothing ends the job then"
    return [*checks, shell.Check("budget", "pass", told)]


def _dry(request: Call) -> Call:
    return Call([request.words[0], "--dry-run", *request.words[1:]], request.document)


def _made(job: Job) -> list[str]:
    """For people: what a run adds to the cluster."""
    storage = job.checkpoints.storage
    pods = f"{job.nodes} pod{'s' if job.nodes > 1 else ''}"
    if storage is None or storage.claim:
        return [f"{job.engine or 'pytorchjob'} {job.name}", pods]
    size, of_class = storage.size or "the least size", storage.storage_class or "the default class"
    return [f"{job.engine or 'pytorchjob'} {job.name}", pods, f"a volume claim ({size}, {of_class})"]


def _puts_out(fit: dict[str, Any]) -> list[str]:
    """For people: whose pods end for this run, where its priority is above theirs."""
    pods = fit.get("preempts") or []
    more = f" and {len(pods) - MAX_NODES_TOLD} more" if len(pods) > MAX_NODES_TOLD else ""
    return [f"evicts pods of a lower priority, such as {', '.join(map(str, pods[:MAX_NODES_TOLD]))}{more}"] if pods else []


def _hours(max_usd: float | None, usd_per_hour: Any) -> dict[str, float | None] | None:
    if max_usd is None:
        return None
    known = isinstance(usd_per_hour, int | float) and usd_per_hour > 0
    return {"max_usd": max_usd, "hours": round(max_usd / usd_per_hour, 1) if known else None}


def _program(deployment: Deployment, name: str) -> tuple[str, str]:
    stage = deployment.stage(name)
    return stage.skill, stage.script


def _image(deployment: Deployment) -> list[shell.Check]:
    image = deployment.job.image
    if image is None or image.uri is None:
        return []
    if not REFERENCE.fullmatch(image.uri):
        told = f"{shell.clean(image.uri, 200)} is no image: a placeholder is left in it, or its digest is cut short"
        fix = "image: {uri: repository@sha256:<64 hex digits>}; docker push prints the digest"
        return [shell.Check("image", "fail", told, fix=fix)]
    if "@sha256:" in image.uri:
        return [shell.Check("image", "pass", "pinned by its digest")]
    told = f"{image.uri} is not pinned by a digest: a pod that starts again may get another image"
    return [shell.Check("image", "warn", told, fix="image: {uri: repository@sha256:<64 hex digits>}")]


def _unused(deployment: Deployment) -> list[shell.Check]:
    job = deployment.job
    checks = [] if job.python == "auto" else [shell.Check("job.ignored", "skipped", "not used on a cluster: python")]
    if job.checkpoints.storage is None:
        told = "without checkpoints.storage the checkpoints are lost with the pod, and a restart begins at step 0"
        checks.append(shell.Check("storage", "warn", told, fix=STORAGES))
    if job.engine in RAY_ENGINES and deployment.job_file.command.launcher is None and job.nodes > 1:
        checks.append(shell.Check("run", "warn", "the command runs once, as the Ray driver; Ray uses the other nodes"))
    return checks
