"""The selector's answer: what the project needs, the image that fits best, and why not another."""

from __future__ import annotations

import datetime
import re
from typing import Any

import trainyard_shell as shell
from bases.choice import Candidate, Needs, candidates
from bases.images import TABLE, Base, rows
from trainyard_gpus import builds_for, driver_of, target
from image_project import Project
from image_tables import date_of, table
from asked.versions import exact, minor, specifiers
from packaging.specifiers import SpecifierSet
from packaging.version import Version


def day(text: str | None) -> datetime.date:
    """A day of ISO 8601, today without one. Raises SkillError usage."""
    try:
        return datetime.date.fromisoformat(text) if text else datetime.date.today()
    except ValueError as error:
        raise shell.SkillError("usage", f"{shell.clean(text or '', 40)!r} is not a date", hint="--as-of 2026-11-28") from error


def needs(project: Project, instance_type: str | None, python: str | None, torch: str | None, as_of: str | None) -> Needs:
    """What was asked for counts before what the project says. Raises SkillError usage."""
    asked = [each.allowed for each in project.named("torch")]
    said = [found for each in project.metadata if each.python and (found := specifiers(each.python)) is not None]
    said = said or [SpecifierSet(f"=={line}.*") for line, _ in project.pythons[:1]]
    return Needs(
        target=target(instance_type) if instance_type else None,
        torch=_asked(torch, "--torch") if torch else _joined(asked),
        python=_asked(python, "--python") if python else _joined(said),
        today=day(as_of),
    )


def _asked(text: str, option: str) -> SpecifierSet:
    """`3.12` means that line of versions, `>=3.11` what it says."""
    found = specifiers(f"=={text}.*" if re.fullmatch(r"\d+(\.\d+)?", text) else f"=={text}" if re.match(r"\d", text) else text)
    if found is None:
        raise shell.SkillError(
            "usage",
            f"{option} {shell.clean(text, 60)!r} is not a version or a range of versions",
            hint=f"{option} 3.12, or '>=3.11,<3.13'",
        )
    return found


def _joined(each: list[SpecifierSet]) -> SpecifierSet | None:
    whole = SpecifierSet()
    for one in each:
        whole &= one
    return whole if each else None


def answer(needs: Needs, limit: int, now: Base | None = None) -> shell.Result:
    """`now`: the image that the project's Dockerfile begins with."""
    fitting, refused = candidates(needs)
    data: dict[str, Any] = {
        "image": fitting[0].base.image if fitting else None,
        "reason": fitting[0].reason if fitting else None,
        "needs": _needs(needs),
        "runners_up": [_row(each, each.reason) for each in fitting[1 : limit + 1]],
        "refused": [_row(each, "; ".join(each.against)) for each in refused],
        "table_date": date_of(TABLE),
        "facts": facts(fitting[0].base) if fitting else {},  # last: its list of accounts is long
    }
    check = _fit(fitting, refused, needs)
    checks = [check, *_patches(fitting[0].base, needs), *_change(now, fitting[0].base)] if fitting else [check]
    return shell.Result(data, checks, next=["conflict_analyzer.py check FOLDER judges the project on it"] if fitting else [])


def _fit(fitting: list[Candidate], refused: list[Candidate], needs: Needs) -> shell.Check:
    if fitting:
        return shell.Check("base.fit", "pass", f"{fitting[0].base.image} fits, {len(fitting) - 1} more do", fitting[0].reason)
    why = "; ".join(f"{each.base.image.rpartition('/')[2]}: {each.against[0]}" for each in refused)
    return shell.Check("base.fit", "fail", "no image of the table fits", why, _way_out(needs))


def _way_out(needs: Needs) -> str:
    """For a torch that no image of the table has: where images of the older ones are."""
    lines = sorted({minor(row.torch) for row in rows() if row.torch}, key=Version)
    text = f"the table has images of torch {lines[0]} to {lines[-1]}"
    pin = exact(needs.torch) if needs.torch is not None else None
    row = table("package_rules")["torch"].get(minor(pin)) if pin else None
    if pin and row:
        cudas = " or ".join(row["builds"])
        return f"{text}; for torch {pin} look for pytorch/pytorch:{pin.partition('+')[0]}-cuda... (CUDA {cudas}), with -devel where something is compiled"
    return f"{text}; ask for one of them with --torch, or for another Python with --python"


def _change(now: Base | None, chosen: Base) -> list[shell.Check]:
    """Another line of torch than that of the project's own FROM: code and extensions may depend on it."""
    if now is None or now.torch is None or chosen.torch is None or minor(now.torch) == minor(chosen.torch):
        return []
    text = f"the Dockerfile begins with {now.image}, which has torch {now.torch}; the chosen image has {chosen.torch}"
    why = "code, torchvision and compiled extensions of the project may need the older line"
    return [shell.Check("base.change", "warn", text, why, f"--torch {minor(now.torch)} keeps the line, where the table has it")]


def _patches(base: Base, needs: Needs) -> list[shell.Check]:
    left = base.days_left(needs.today)
    if left is None:
        return [shell.Check("base.patch", "skipped", f"no end of patch is known for {base.image}")]
    status = "warn" if left < 60 else "pass"
    return [shell.Check("base.patch", status, f"patches until {base.end_of_patch}, {left} days", f"table of {date_of(TABLE)}")]


def facts(base: Base) -> dict[str, Any]:
    known = {name: value for name, value in vars(base).items() if name not in ("image", "has_torch", "packages", "note")}
    accounts = table(TABLE)["accounts"] if base.account else {}
    known["account"] = accounts.get(base.account)
    elsewhere = {region: account for region, account in accounts.items() if region != base.account}
    driver = driver_of(base.cuda) if base.cuda else None
    return {**known, **base.packages, "driver_min": driver, "account_elsewhere": elsewhere}


def _needs(needs: Needs) -> dict[str, Any]:
    goal = needs.target
    return {
        "torch": str(needs.torch) if needs.torch is not None else None,
        "python": str(needs.python) if needs.python is not None else None,
        "instance_type": goal.instance_type if goal else None,
        "gpu": goal.gpu if goal else None,
        "sm": goal.sm if goal else None,
        "cuda_builds": builds_for(goal) if goal and goal.gpu else [],
        "efa": goal.efa if goal else False,
    }


def _row(each: Candidate, why: str) -> dict[str, Any]:
    return {"image": each.base.image, "torch": each.base.torch, "cuda": each.base.cuda, "reason": why}
