"""The same in each region: what fails in one is told, and does not keep the others from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import push_names
import trainyard_shell as shell
from ecr_region import Region, connect
from push_patience import AGAIN, TimeUp


@dataclass
class Place:
    """A region, and what came of the verb there."""

    region: Region
    data: dict[str, Any] = field(default_factory=dict)
    error: shell.SkillError | None = None
    changed: list[str] = field(default_factory=list)
    checks: list[shell.Check] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.region.name

    def row(self) -> dict[str, Any]:
        if self.error is None:
            return {"region": self.name, **self.data}
        said = {"code": self.error.code, "message": shell.clean(str(self.error)), "hint": self.error.hint}
        changed = {"changed": self.changed} if self.changed else {}
        return {"region": self.name, **self.data, **changed, "error": {**said, "retryable": self.error.retryable}}


def connected(names: tuple[str, ...], repository: str) -> list[Place]:
    """Clients of the regions, each once; without a name the environment's. Raises SkillError before anything is asked."""
    push_names.repository(repository)
    found = [connect(name, repository) for name in dict.fromkeys(names)] if names else [connect(None, repository)]
    return [Place(region) for region in {region.name: region for region in found}.values()]


def in_each(places: list[Place], do: Callable[[Place], None]) -> list[dict[str, Any]]:
    """`do` in one region after the other, where nothing has failed yet; the rows of the answer.

    Raises the first SkillError where every region has failed. Once the time is up, none has any left.
    """
    late: shell.SkillError | None = None
    for place in [place for place in places if place.error is None]:
        try:
            if late:
                raise late
            do(place)
        except TimeUp as stopped:
            place.error = late = stopped.error
        except shell.SkillError as error:
            place.error = error
            place.checks += error.checks
    rows = [place.row() for place in places]
    if all(place.error for place in places):
        raise _first_error(places, rows)
    return rows


def _first_error(places: list[Place], rows: list[dict[str, Any]]) -> shell.SkillError:
    first = places[0].error
    assert first is not None
    many = "both" if len(places) == 2 else f"all {len(places)}"
    several = f"{many} regions failed; {places[0].name}: " if len(places) > 1 else ""
    return shell.SkillError(
        first.code,
        f"{several}{first}",
        hint=_hint(places, first) or AGAIN,
        retryable=first.retryable,
        data={**first.data, "regions": rows},
        checks=[check for place in places for check in place.checks],
    )


def _hint(places: list[Place], first: shell.SkillError) -> str:
    """The first one, for all regions where it is the same but for the name."""
    own = f"--region {places[0].name}"
    same = [f"--region {each.name}" for each in places if each.error and each.error.code == first.code]
    return first.hint.replace(own, " ".join(same))


def region_checks(places: list[Place], id: str, done: str) -> list[shell.Check]:
    """A check for each region, then those of the regions. `done` may have {names} of the region's data."""
    rows = []
    for place in places:
        if place.error:
            summary = shell.clean(f"{place.name}: {place.error}", 600)
            rows.append(shell.Check(id, "fail", summary, place.error.code, place.error.hint or AGAIN))
        else:
            rows.append(shell.Check(id, "pass", f"{place.name}: {done.format(**place.data)}"))
    return rows + [check for place in places for check in place.checks]


def changes(places: list[Place], *, dry_run: bool) -> list[str]:
    return [] if dry_run else [line for place in places for line in place.changed]


def tagged(places: list[Place]) -> dict[str, str]:
    """Tag -> digest, of all regions that can be asked."""
    reached = [place.region for place in places if not place.error and place.region.described]
    return {tag: digest for region in reached for tag, digest in region.tagged().items()}
