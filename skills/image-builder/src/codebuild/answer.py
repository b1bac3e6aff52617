"""The answer of `build`: the same members as build_image.py's, and the builds of CodeBuild."""

from __future__ import annotations

from typing import Any

import trainyard_shell as shell
from codebuild import outcome
from codebuild.looking import PROGRAM
from codebuild.order import Ended


def answer(ended: list[Ended]) -> shell.Result:
    """Raises SkillError where the only build could not be done."""
    rows, found, errors, changed, follow = [], [], [], [], []
    for each in ended:
        data, checks, error = _one(each)
        rows.append(data)
        found += checks
        changed += each.changed
        if error:
            errors.append(error)
            data["error"] = {"code": error.code, "message": str(error), "hint": error.hint}
        follow += _next(each)
    data = rows[0] if len(rows) == 1 else {"builds": rows, "total": len(rows)}
    if len(rows) == 1 and errors:
        error = errors[0]
        raise shell.SkillError(
            error.code, str(error), hint=error.hint, retryable=error.retryable, data={**error.data, **data}, checks=found
        )
    return shell.Result(data, found, changed=changed, next=follow[:5])


def _next(each: Ended) -> list[str]:
    if each.started:
        return [f"{PROGRAM} wait {each.started.id}"]
    if each.attempts.image:
        return [f"test_image_codebuild.py run {each.order.image}@{each.attempts.image.exported.get('IMAGE_DIGEST')}"]
    return [f"{PROGRAM} logs {each.builds[-1]}"] if each.builds else []


def _one(each: Ended) -> tuple[dict[str, Any], list[shell.Check], shell.SkillError | None]:
    data, checks, error = row(each), [*each.order.checks], each.error
    if each.attempts.image:
        try:
            verified, more = outcome.verified(each.order.place.account, each.attempts.image)
        except shell.SkillError as wrong:
            return data, checks, wrong
        took = f"in {data['seconds']:g} s, attempt {len(each.attempts.rows)}"
        told = f"{each.order.image}:{verified['tag']} {f'was built before, by {each.reused.id}' if each.reused else took}"
        return {**data, **verified}, [*checks, shell.Check("build.done", "pass", told, verified["digest"]), *more], None
    if error is None and each.attempts.cause:
        checks.append(_failed(each))
        error = _error(each)
    elif error is not None:
        checks += [*error.checks, shell.Check("build.started", "fail", f"{each.order.reference}: {error}", fix=error.hint)]
    return data, checks, error


def row(each: Ended) -> dict[str, Any]:
    order, attempts = each.order, each.attempts
    return {
        "image": order.image,
        "tag": order.tag,
        "digest": None,
        "image_id": None,
        "size_bytes": None,
        "seconds": round(sum(row["seconds"] for row in attempts.rows), 3),
        "attempts": attempts.rows,
        "log": str(each.log) if each.log else None,
        "source_digest": order.source.recipe.source_digest,
        "builder": f"codebuild {order.machine.type}",
        "dockerfile": "generated" if order.source.recipe.generated else "given",
        "folder": str(order.source.recipe.folder),
        "archive": None,
        "build_ids": each.builds,
        "reused": each.reused is not None,
    }


def _failed(each: Ended) -> shell.Check:
    cause = each.attempts.cause
    assert cause is not None
    summary = f"{each.order.reference}: {cause.told}"
    evidence = shell.clean("\n".join(cause.evidence), 1500)
    return shell.Check(f"build.{cause.kind}", "fail", shell.clean(summary, 600), evidence, cause.fix)


def _error(each: Ended) -> shell.SkillError | None:
    """What the contract has a code for; a command that failed is the answer no."""
    cause = each.attempts.cause
    assert cause is not None
    code = cause.code
    if code is None:
        return None
    message = f"{each.order.reference} was not built: {cause.told}"
    return shell.SkillError(code, message, hint=cause.fix, retryable=code in ("unreachable", "timeout"))
