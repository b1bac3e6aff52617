"""The image of a job, from its source: built, tested, pushed. An image that went through all three for this very job is taken as it is.

It is found again by its tag, which names the source and what it was tested for, and which only the last stage writes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

import trainyard_shell as shell
from deploy_siblings import Answer, Call, call, options
from deploy_stage import METERED, Stage
from on_kubernetes import agent_bounds
from on_kubernetes.image_tags import LOOK_S, PUSH, image_key, other_tag, region_words, repository, tag
from trainyard_job import Job

if TYPE_CHECKING:
    from deployment import Deployment
    from run_state.record import Run

NAMES = ("build", "test", "push")
BUILD = {"codebuild": ("image-builder", "build_image_codebuild.py"), "docker": ("image-builder", "build_image.py")}
TEST = {"codebuild": ("image-tester", "test_image_codebuild.py"), "docker": ("image-tester", "test_image.py")}
BUILD_S, TEST_S, PUSH_S = 6 * 3600.0, 3600.0, 2 * 3600.0
STOP = "build_image_codebuild.py list, and cancel BUILD_ID"
FOUND = "this source was built, tested and pushed before"


def is_built(job: Job) -> bool:
    return job.image is not None and job.image.build is not None


def stages(job: Job) -> tuple[Stage, ...]:
    """[] for an image that exists."""
    if job.image is None or not is_built(job):
        return ()
    builder = job.image.builder
    keys = ("image", "source", "run", "engine", "resources", "network")
    cost = METERED if builder == "codebuild" else "0 USD"
    return (
        Stage("build", *BUILD[builder], "a container image", cost, keys, is_cached=False),
        Stage("test", *TEST[builder], "nothing", cost, keys, is_cached=False),
        Stage("push", *PUSH, "an image in the registry", METERED, keys, is_cached=False),
    )


# --- beforehand ---------------------------------------------------------------------------------------------------


def problems(deployment: Deployment) -> list[shell.Check]:
    """Asks what would be built, and whether the registry has it already. Makes nothing."""
    plan = call(_program(deployment, "build"), _build(deployment, "--dry-run"), timeout_s=LOOK_S).or_raise()
    deployment.answers["plan"] = plan
    if any(check.status == "fail" for check in plan.checks):
        return plan.checks
    found = _there(deployment)
    if found is None:
        return [*plan.checks, *other_tag(deployment), shell.Check("image", "pass", _told(plan.data))]
    deployment.answers["push"] = found
    return [shell.Check("image", "pass", f"{FOUND}: {_by_digest(found.data)}")]


def _there(deployment: Deployment) -> Answer | None:
    """The image that went through all three stages, whole in the registry."""
    image = f"{repository(deployment.job)}:{tag(deployment)}"
    found = call(PUSH, ["verify", image, *region_words(deployment.job)], timeout_s=LOOK_S)
    if found.error_code != "not-found":
        found.or_raise()
    return found if found.ok and _by_digest(found.data) else None


def describe(deployment: Deployment, run: Run) -> dict[str, Any]:
    """The plan's part: what is built, for how much, or what is there already."""
    plan = deployment.answers.get("plan")
    if plan is None:
        return {"reference": reference(deployment, run)} if run.submission else {}
    kept = ("source_digest", "builder", "dockerfile", "bases", "context", "estimate", "notes")
    return {
        **{key: plan.data[key] for key in kept if key in plan.data},
        "repository": repository(deployment.job),
        "tag": tag(deployment),
        "there": (deployment.answers["push"].data.get("digest") if "push" in deployment.answers else None),
    }


def reference(deployment: Deployment, run: Run) -> str | None:
    """`repository@digest` of the image that was pushed; before that, a name that stands for it in a plan."""
    job = deployment.job
    if not is_built(job):
        return image_key(job).uri
    pushed = deployment.answers["push"].data if "push" in deployment.answers else {}
    if not pushed and run.submission is not None and "push" in run.stages:
        pushed = run.stages["push"].result
    planned = f"{repository(job)}:{tag(deployment)}" if "plan" in deployment.answers else repository(job)
    return _by_digest(pushed) or planned


def _by_digest(pushed: dict[str, Any]) -> str | None:
    """The image with its registry's host and its digest; `reference` of `verify` is what it was asked for."""
    rows = pushed.get("regions")
    first = rows[0].get("uri") if isinstance(rows, list) and rows and isinstance(rows[0], dict) else None
    return str(first) if first and "@sha256:" in str(first) else None


# --- the stages ---------------------------------------------------------------------------------------------------


def request(deployment: Deployment, run: Run, name: str) -> Call:
    """No words where the image is there already."""
    if "push" in deployment.answers:
        return Call([])
    if name == "build":
        return _build(deployment)
    job, built = deployment.job, _answer(deployment, run, "build")
    if name == "test":
        return _test(deployment, run, built)
    # The tag by which it is found again comes last: a call that is killed between them is made again.
    tags = [*([] if image_key(job).tag == "auto" else [image_key(job).tag]), tag(deployment)]
    words = [word for each in tags for word in ("--tag", each)]
    if image_key(job).builder == "codebuild":
        tested = f"{built.get('tag')}@{built.get('digest')}"  # another build may have taken the tag meanwhile
        return Call(["promote", repository(job), "--from", tested, *words, *region_words(job)])
    return Call(["push", _local(built), "--repository", repository(job), "--create", *words, *region_words(job)])


def do(deployment: Deployment, name: str, asked: Call) -> dict[str, Any]:
    """Makes the call, and keeps its answer for the stages behind it. Raises SkillError conflict for an image that fails."""
    if not asked.words:
        return {"skipped": FOUND, **(deployment.answers["push"].data if name == "push" else {})}
    made = _repository(deployment.job) if name == "build" else []
    limit = {"build": BUILD_S, "test": TEST_S, "push": PUSH_S}[name]
    try:
        answer = call(_program(deployment, name), asked, timeout_s=limit, shows=True)
    except KeyboardInterrupt:
        if name != "build" or image_key(deployment.job).builder != "codebuild":
            raise
        message = "interrupted; what was started on CodeBuild goes on, and the same call finds it"
        raise shell.SkillError("timeout", message, hint=f"to end it: {STOP}", retryable=True) from None
    if name == "push" and answer.error_code == "conflict" and (there := _there(deployment)):
        answer = there  # somebody else's run of this very job was faster
    answer.or_raise()
    if not answer.ok:
        raise _refused(name, answer)
    if name == "push" and not _by_digest(answer.data):
        raise shell.SkillError(
            "internal", "the image was pushed, and its digest was not told", hint="report this", data=answer.data
        )
    deployment.answers[name] = answer
    if name == "test":
        _fits_engine(deployment.job, answer)
    kept = (
        "image",
        "image_id",
        "tag",
        "digest",
        "size_bytes",
        "seconds",
        "log",
        "facts",
        "unproven",
        "level",
        "repository",
        "regions",
    )
    changed = [*made, *(answer.document.get("changed") or [])]
    return {key: answer.data[key] for key in kept if key in answer.data} | {"changed": changed}


def _repository(job: Job) -> list[str]:
    """A build of CodeBuild pushes, so the repository is made before it; `push --create` makes it otherwise. What was made."""
    if image_key(job).builder != "codebuild":
        return []
    answer = call(PUSH, ["ensure-repo", repository(job), *region_words(job)], timeout_s=LOOK_S).or_raise()
    return [str(each) for each in answer.document.get("changed") or []]


def _build(deployment: Deployment, *more: str) -> Call:
    job, image = deployment.job, image_key(deployment.job)
    instance = job.resources.instance_type if job.resources else None
    words = [
        "build",
        str(deployment.job_file.source),
        *options(dockerfile=image.dockerfile, base=image.base, instance_type=instance),
    ]
    words += options(job_network=job.network, entry=deployment.job_file.command.script)
    # A new volume belongs to root, and fsGroup does not reach volumes that several nodes write (FSx, EFS): decision 0026.
    words += ["--user", "0"] if job.checkpoints.storage else []
    if image.builder == "codebuild":
        words += ["--push", repository(job), *region_words(job)]
    else:
        words += ["--image-name", repository(job), "--builder", "auto"]
    return Call([*words, *more])


def _test(deployment: Deployment, run: Run, built: dict[str, Any]) -> Call:
    job = deployment.job
    instance = job.resources.instance_type if job.resources else None
    on_aws = image_key(job).builder == "codebuild"
    image = f"{built.get('image')}@{built.get('digest')}" if on_aws else _local(built)
    words = ["run", image, "--level", image_key(job).test, "--request", "-", "--project", str(deployment.job_file.source)]
    region = region_words(job) if on_aws else []
    document = {**msgspec.to_builtins(job), "run_id": run.run_id, "start": run.starts}
    return Call([*words, *options(instance_type=instance), *region], document)


def _local(built: dict[str, Any]) -> str:
    """The very image that was built: another build may take its tag before it is tested and pushed."""
    return str(built.get("image_id") or f"{built.get('image')}:{built.get('tag')}")


def _refused(name: str, answer: Answer) -> shell.SkillError:
    failed = [check for check in answer.checks if check.status in ("fail", "unknown")]
    told = "; ".join(f"{check.id}: {check.summary}" for check in failed[:3]) or "it refused and gave no reason"
    attempts = answer.data.get("attempts")
    if name == "build" and isinstance(attempts, list) and attempts and isinstance(attempts[-1], dict):
        told = str(attempts[-1].get("cause") or told)
    hint = (failed[0].fix if failed else "") or (f"the log: {answer.data['log']}" if answer.data.get("log") else "")
    return shell.SkillError(
        "conflict", shell.clean(f"{name} of the image: {told}", 600), hint=hint, data=answer.data, checks=failed
    )


def _fits_engine(job: Job, answer: Answer) -> None:
    """Raises SkillError conflict for a torch that the engine's agent does not run with."""
    facts = answer.data.get("facts")
    torch = str(facts.get("torch") or "") if isinstance(facts, dict) else ""
    if job.engine == "hyperpodjob" and agent_bounds.refuses(torch):
        raise shell.SkillError("conflict", f"the image has torch {torch}, and {agent_bounds.TOLD}", hint=agent_bounds.HINT)


def _answer(deployment: Deployment, run: Run, name: str) -> dict[str, Any]:
    return deployment.answers[name].data if name in deployment.answers else run.stages[name].result


def _program(deployment: Deployment, name: str) -> tuple[str, str]:
    stage = deployment.stage(name)
    return stage.skill, stage.script


def _told(plan: dict[str, Any]) -> str:
    """What the build will take, in words."""
    estimate = plan.get("estimate") or {}
    if plan.get("reused") is True:
        return f"{estimate.get('basis') or 'was built before'}; it is still to be tested and pushed"
    minutes, usd = estimate.get("minutes"), estimate.get("usd")
    bases = plan.get("bases") or ["an unknown base image"]
    size = f"; about {minutes} minutes" if minutes else ""
    price = f", {usd:.2f} USD" if isinstance(usd, int | float) else ""
    return f"will be built on {bases[-1]} by {plan.get('builder')}{size}{price}"
