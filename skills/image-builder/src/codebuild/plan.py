"""--dry-run of `build`: base image, size, minutes and cost beforehand, and what would be done. Nothing is made or sent."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import trainyard_codebuild as codebuilds
import trainyard_shell as shell
from codebuild import compute, outcome, packing
from codebuild.order import Order
from trainyard_codebuild import Build


def plan(orders: list[Order]) -> shell.Result:
    project = _project(orders[0])
    rows, checks = [], []
    for each in orders:
        there, found = _before(each) if project.status == "pass" else (None, [])
        rows.append(_row(each, there))
        checks += [*each.checks, *found]
    checks.append(project)
    data = rows[0] if len(rows) == 1 else {"builds": rows, "total": len(rows)}
    is_possible = all(each.status != "fail" for each in checks)
    return shell.Result(data, checks, next=["the same call without --dry-run"] if is_possible else [])


def _row(order: Order, there: tuple[Build, str] | None) -> dict[str, Any]:
    recipe, size = order.source.recipe, order.source.listing.size_bytes
    guess = compute.estimate(order.machine, compute.largest(recipe.bases), order.more_gb, order.place.account.region)
    would = [
        f"upload {packing.key(recipe)[:12]} to {order.place.bucket or 'the bucket of Trainyard'} unless it is there",
        f"start a build of {order.place.project}",
        f"push {order.reference}",
    ]
    if there:
        guess = replace(guess, minutes=0.0, usd=0.0, basis=f"built before, by {there[0].id}")
        would = []
    return {
        "image": order.image,
        "tag": there[1] if there else order.tag,
        "source_digest": recipe.source_digest,
        "builder": f"codebuild {order.machine.type}",
        "compute": {"type": order.machine.type, "image": order.machine.image, "reason": order.machine.reason},
        "estimate": guess.row(),
        "dockerfile": "generated" if recipe.generated else "given",
        "dockerfile_text": recipe.dockerfile.splitlines() if recipe.generated else None,
        "notes": list(order.source.notes),
        "bases": recipe.bases,
        "user": recipe.user,
        "context": {"files": len(order.source.listing.files), "size_bytes": size},
        "reused": there is not None,
        "would": would,
    }


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


def _before(order: Order) -> tuple[tuple[Build, str] | None, list[shell.Check]]:
    """The build that has made this image and the tag it has now; or that an immutable tag is another image's, which ends a build."""
    if order.found:  # no repository yet
        return None, []
    try:
        build = order.already()
        if build is None:
            return None, []
        verified, checks = outcome.verified(order.place.account, build)
    except shell.SkillError as error:
        if error.code != "conflict":
            raise
        return None, [shell.Check("registry.tag", "fail", str(error), fix=error.hint)]
    told = f"{order.image}:{verified['tag']} was built before, by {build.id}"
    return (build, verified["tag"]), [shell.Check("build.before", "pass", told, verified["digest"]), *checks]
