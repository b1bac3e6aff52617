"""The answer of `build`: what would be built, and what came of it, with the contract's code for the cause of a failure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import trainyard_shell as shell
from attempts.trying import Attempts
from build_source import Source
from builders import commands
from builders.local_build import Order
from builders.results import Built

Ended = tuple[dict[str, Any], Attempts[Built]] | shell.SkillError


def plan(sources: list[Source], orders: list[Order], checks: list[list[shell.Check]]) -> shell.Result:
    rows = []
    for source, order in zip(sources, orders, strict=True):
        place = Path("WORK")
        archive = order.output.archive
        context = order.recipe.folder if not order.recipe.files else place / "context"
        rows.append(
            {
                "image": order.output.push or order.output.name,
                "tag": order.output.tag,
                "source_digest": order.recipe.source_digest,
                "builder": order.engine.told,
                "dockerfile": "generated" if order.recipe.generated else "given",
                "dockerfile_text": order.recipe.dockerfile.splitlines() if order.recipe.generated else None,
                "bases": order.recipe.bases,
                "user": order.recipe.user,
                "context": {
                    "files": len(source.listing.files),
                    "size_bytes": source.listing.size_bytes,
                    "sample": _sample(source),
                },
                "would_run": commands.command(order.engine, order.recipe, order.output, order.caches, place, context, archive),
                "notes": list(source.notes),
            }
        )
    data = rows[0] if len(rows) == 1 else {"builds": rows, "total": len(rows)}
    return shell.Result(data, [each for some in checks for each in some], next=["the same call without --dry-run"])


def _sample(source: Source) -> list[str]:
    return [shell.clean(each.path, 200) for each in source.listing.files[:50]]


def answer(orders: list[Order], checks: list[list[shell.Check]], ended: list[Ended], written: list[str]) -> shell.Result:
    rows: list[dict[str, Any]] = []
    found: list[shell.Check] = []
    errors: list[shell.SkillError] = []
    changed: list[str] = list(written)
    for order, some, each in zip(orders, checks, ended, strict=True):
        error = each if isinstance(each, shell.SkillError) else _error(order, each[1])
        row = {"image": order.output.name, "tag": order.output.tag} if isinstance(each, shell.SkillError) else each[0]
        said = [*some, _check(order, each)]
        found += said
        if error is not None:
            errors.append(error)
            row = {**row, "error": {"code": error.code, "message": str(error), "hint": error.hint}}
        if not isinstance(each, shell.SkillError) and each[1].image is not None:
            changed.append(f"image {order.output.reference}" + (f" in {order.output.archive}" if order.output.archive else ""))
        rows.append(row)
    data = rows[0] if len(rows) == 1 else {"builds": rows, "total": len(rows)}
    if len(rows) == 1 and errors:
        raise shell.SkillError(
            errors[0].code, str(errors[0]), hint=errors[0].hint, retryable=errors[0].retryable, data=data, checks=found
        )
    return shell.Result(
        data,
        found,
        changed=changed,
        next=_next(orders, ended),
    )


def _next(orders: list[Order], ended: list[Ended]) -> list[str]:
    """What was built is tried, what was not is read."""
    found = []
    for order, each in zip(orders, ended, strict=True):
        if isinstance(each, shell.SkillError):
            continue
        if each[1].image is None:
            found.append(f"read data.attempts, and the whole log: {each[0]['log']}")
        elif not order.output.push and not order.output.archive:
            found.append(f"smoke_test.py run {order.output.reference}")
    return found[:3]


def _error(order: Order, ended: Attempts[Built]) -> shell.SkillError | None:
    """What the contract has a code for; a command that failed is the answer no."""
    cause = ended.cause
    if cause is None or cause.code is None:
        return None
    message = f"{order.output.reference} was not built: {cause.told}"
    return shell.SkillError(cause.code, message, hint=cause.fix, retryable=cause.code in ("unreachable", "timeout"))


def _check(order: Order, ended: Ended) -> shell.Check:
    if isinstance(ended, shell.SkillError):
        return shell.Check("build.started", "fail", f"{order.output.reference}: {ended}", fix=ended.hint)
    row, attempts = ended
    if attempts.cause is None:
        told = f"{order.output.reference} in {row['seconds']:g} s, attempt {len(attempts.rows)}"
        return shell.Check("build.done", "pass", told, row["digest"])
    cause = attempts.cause
    summary = f"{order.output.reference}: {cause.told}"
    return shell.Check(
        f"build.{cause.kind}",
        "fail",
        shell.clean(summary, 600),
        shell.clean("\n".join(cause.evidence), 1500),
        cause.fix,
    )
