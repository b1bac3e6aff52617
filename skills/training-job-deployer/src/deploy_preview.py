"""`--dry-run` of `run` and `resume`: the plan, and the very call that would be made. Nothing is written."""

from __future__ import annotations

from typing import Any

import deploy_fresh
import deploy_place
import deploy_plan
import deploy_siblings
import trainyard_shell as shell
from deploy_plan import place_of
from deployment import Deployment


def preview(
    deployment: Deployment,
    *,
    resume: bool,
    accept_changes: bool = False,
    fresh: bool = False,
    from_step: int | None = None,
    **_: Any,
) -> shell.Result:
    """--dry-run: the plan, and the very call that would be made."""
    refuse_missing_skills(deployment)
    current, aside = deploy_fresh.preview(deployment) if fresh else (deploy_plan.run_or_preview(deployment), None)
    deployment.accepts = accept_changes and bool(deployment.changed_keys(current))
    checks = deploy_plan.problems(deployment, current, strict=False)
    data = deploy_plan.describe(deployment, current)
    if aside is not None:
        data["sets_aside"] = str(aside)
    if from_step is not None:
        back = deploy_place.of(current.target, deployment.run_dir).roll_back(current, from_step, dry_run=True)
        data["rolls_back"] = {key: back.data.get(key) for key in ("step", "set_aside")}
    request = place_of(deployment).request(deployment, current, deployment.submission.name)
    before = current.submission
    if resume and not deployment.accepts:
        request = place_of(deployment).again(current, before.call if before else request)
    data["would_call"] = [deployment.submission.script, *request.words]
    if request.document is not None:
        data["request"] = request.document
    return shell.Result(data=data, checks=checks)


def refuse_missing_skills(deployment: Deployment) -> None:
    """Raises SkillError dependency, which names all folders that are missing."""
    stages, target = deployment.stages, deployment.job.target
    missing = [stage for stage in stages if not deploy_siblings.is_there(stage.skill, stage.script)]
    if not missing:
        return
    names = ", ".join(dict.fromkeys(stage.skill for stage in missing))
    hint = f"put these folders into {deploy_siblings.SKILLS_FOLDER} (./install.sh in a checkout that has them links all)"
    raise shell.SkillError(
        "dependency",
        f"target {target} needs the skill folders {names}; stage {missing[0].name} cannot run",
        hint=hint if target == "local" else f"{hint}, or target: local",
    )
