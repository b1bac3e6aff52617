"""--dry-run of `build`: base image, size, minutes and cost beforehand, and what would be done. Nothing is made or sent."""

from __future__ import annotations

import trainyard_codebuild as codebuilds
import trainyard_shell as shell
from codebuild import compute, one, packing
from codebuild.order import Order


def plan(orders: list[Order]) -> shell.Result:
    rows = []
    for each in orders:
        recipe, size = each.source.recipe, each.source.listing.size_bytes
        base = compute.largest(recipe.bases)
        rows.append(
            {
                "image": each.image,
                "tag": each.tag,
                "source_digest": recipe.source_digest,
                "builder": f"codebuild {each.machine.type}",
                "compute": {"type": each.machine.type, "image": each.machine.image, "reason": each.machine.reason},
                "estimate": compute.estimate(each.machine, base, size, each.place.account.region).row(),
                "dockerfile": "generated" if recipe.generated else "given",
                "dockerfile_text": recipe.dockerfile.splitlines() if recipe.generated else None,
                "notes": list(each.source.notes),
                "bases": recipe.bases,
                "user": recipe.user,
                "context": {"files": len(each.source.listing.files), "size_bytes": size},
                "would": [
                    f"upload {packing.key(recipe)[:12]} to {each.place.bucket or 'the bucket of Trainyard'} unless it is there",
                    f"start a build of {each.place.project}",
                    f"push {each.reference}",
                ],
            }
        )
    project = _project(orders[0])
    taken = [check for each in orders for check in _taken(each)] if project.status == "pass" else []
    checks = [*(check for each in orders for check in each.checks), project, *taken]
    data = rows[0] if len(rows) == 1 else {"builds": rows, "total": len(rows)}
    return shell.Result(data, checks, next=["the same call without --dry-run"])


def _project(order: Order) -> shell.Check:
    """Whether there is a project that builds."""
    name, account = order.place.project, order.place.account
    try:
        codebuilds.newest(account.builds, name, 1)
    except shell.SkillError as error:
        if error.code not in ("not-found", "permission"):
            raise
        status = "fail" if error.code == "not-found" else "unknown"
        return shell.Check("codebuild.project", status, str(error), fix=error.hint)
    return shell.Check("codebuild.project", "pass", f"the project {name} is in {account.region}")


def _taken(order: Order) -> list[shell.Check]:
    """An immutable tag that another image has: the build would be refused at its start."""
    if not order.place.repository.keeps(order.tag):
        return []
    try:
        one.already(order.place, order.ask(order.source.recipe))
    except shell.SkillError as error:
        if error.code != "conflict":
            raise
        return [shell.Check("registry.tag", "fail", str(error), fix=error.hint)]
    return []
