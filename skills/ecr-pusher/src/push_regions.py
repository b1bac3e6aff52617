"""One image into each region: what fails in one is told, and does not keep the others from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import push_names
import trainyard_shell as shell
from ecr_region import Region, connect

T = TypeVar("T")


@dataclass
class Outcome:
    """Of one region: its answer or its error."""

    region: str
    data: dict[str, Any] = field(default_factory=dict)
    error: shell.SkillError | None = None
    changed: list[str] = field(default_factory=list)
    checks: list[shell.Check] = field(default_factory=list)

    def row(self) -> dict[str, Any]:
        if self.error is None:
            return {"region": self.region, **self.data}
        said = {"code": self.error.code, "message": shell.clean(str(self.error)), "hint": self.error.hint}
        return {"region": self.region, **self.data, "error": {**said, "retryable": self.error.retryable}}


def connected(names: Iterable[str], repository: str) -> list[Region]:
    """Clients of the regions, each once; without a name the environment's. Raises SkillError before anything is asked."""
    push_names.repository(repository)
    found = [connect(name, repository) for name in dict.fromkeys(names)] if names else [connect(None, repository)]
    return list({region.name: region for region in found}.values())


def in_each(regions: list[Region], do: Callable[[Region, Outcome], None]) -> list[Outcome]:
    """`do` in one region after the other; a SkillError is that region's outcome."""
    outcomes = []
    for region in regions:
        outcome = Outcome(region.name)
        try:
            do(region, outcome)
        except shell.SkillError as error:
            outcome.error = error
            outcome.checks += error.checks
        outcomes.append(outcome)
    return outcomes


def refuse_if_none(outcomes: list[Outcome], data: dict[str, Any], again: str) -> None:
    """Raises the first error where no region has an answer; where some have, it is exit 1 with a check for each."""
    failed = [each for each in outcomes if each.error]
    if len(failed) < len(outcomes) or not failed:
        return
    first = failed[0].error
    assert first is not None
    message = str(first) if len(failed) == 1 else f"all {len(failed)} regions failed; {failed[0].region}: {first}"
    raise shell.SkillError(
        first.code,
        message,
        hint=first.hint or again,
        retryable=first.retryable,
        data={**first.data, **data},
        checks=[check for each in outcomes for check in each.checks],
    )


def region_checks(outcomes: list[Outcome], id: str, done: str, again: str) -> list[shell.Check]:
    """A check for each region, where there are several or one failed; those of the regions behind them."""
    rows = []
    for each in outcomes:
        if each.error:
            fix = each.error.hint or again
            rows.append(shell.Check(id, "fail", shell.clean(f"{each.region}: {each.error}", 600), each.error.code, fix))
        else:
            rows.append(shell.Check(id, "pass", f"{each.region}: {done}"))
    return rows + [check for each in outcomes for check in each.checks]
