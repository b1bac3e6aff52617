"""The rules of the doctor: data in assets/rules/*.yaml, a file per area; read once, each pattern compiled.

A rule names one wording. `cause` is what it proves, `role` what part it plays: root (it can have started a failure), cascade (said by
those that another one left waiting), confirmation (it makes another finding certain, and is none itself).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trainyard_yaml
import yaml
from diagnosis.rule_words import Sieve

FOLDER = Path(__file__).resolve().parents[2] / "assets" / "rules"
RESTARTS = ("RESTART", "RESTART_ELSEWHERE", "RESTART_OLDER", "STOP")
ROLES = ("root", "cascade", "confirmation")
PLACES = ("log", "kernel", "pod", "event", "node", "object", "runner")
WHOSE = ("writer", "all", "launcher", "any", "node")
KEYS = frozenset(
    [
        "id",
        "cause",
        "role",
        "where",
        "patterns",
        "unless",
        "depth",
        "whose",
        "restart",
        "before_steps",
        "sticky",
        "title",
        "do",
        "example",
        "near_miss",
    ]
)


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One row; what its keys mean: skills/monitor/references/doctor.md."""

    id: str
    cause: str
    patterns: tuple[re.Pattern[str], ...]
    area: str = ""
    role: str = "root"
    where: tuple[str, ...] = ("log",)
    unless: re.Pattern[str] | None = None
    """A line that this fits too is another matter."""
    depth: int = 50
    """Of several roots in one failure the deepest is told: hardware 90, the cluster 80, the machine's memory and disk 70, the
    program itself 60, a signal 50, the network 40."""
    whose: str = "writer"
    """Whose fault it is: the writer of the line, every rank (the same code everywhere), the launcher, any (nobody can tell)."""
    restart: str = "RESTART"
    before_steps: str | None = None
    """Of `restart`, where no step was made yet."""
    sticky: bool = False
    """Steps after it do not show that it was overcome."""
    title: str = ""
    do: str = ""
    example: str = field(default="", compare=False)
    near_miss: str = field(default="", compare=False)

    def __reduce__(self) -> tuple[Callable[[str], Rule], tuple[str]]:
        """Between processes goes its id: on both sides it is the same rule."""
        return rule, (self.id,)

    def search(self, text: str) -> re.Match[str] | None:
        found = next((match for pattern in self.patterns if (match := pattern.search(text))), None)
        return None if found and self.unless and self.unless.search(text) else found


@functools.cache
def all_rules() -> tuple[Rule, ...]:
    """A damaged file of rules is a bug of ours, so nothing is caught here."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found = [
        _rule(row, path.stem) for path in sorted(FOLDER.glob("*.yaml")) for row in trainyard_yaml.read(path, loader=loader)
    ]
    names = [each.id for each in found]
    assert len(set(names)) == len(names), f"two rules of one id: {sorted(name for name in names if names.count(name) > 1)[:3]}"
    return tuple(found)


@functools.cache
def rules_of(place: str) -> tuple[Rule, ...]:
    return tuple(each for each in all_rules() if place in each.where)


@functools.cache
def rule(id: str) -> Rule:
    return next(each for each in all_rules() if each.id == id)


def every_of(place: str, text: str) -> list[tuple[Rule, re.Match[str]]]:
    """In their order: in its file a narrow rule stands before a wide one, and areas go by their names."""
    return [(each, match) for each in _sieve(place).may_fit(text) if (match := each.search(text))]


@functools.cache
def _sieve(place: str) -> Sieve[Rule]:
    return Sieve([(each, each.patterns) for each in rules_of(place)])


def _rule(row: dict[str, Any], area: str) -> Rule:
    assert row.keys() <= KEYS, f"{row.get('id')}: {row.keys() - KEYS}"
    values = {key: value for key, value in row.items() if key not in ("patterns", "unless", "where")}
    found = Rule(
        **values,
        area=area,
        where=tuple(row.get("where", ("log",))),
        patterns=tuple(re.compile(each) for each in row.get("patterns", ())),
        unless=re.compile(row["unless"]) if "unless" in row else None,
    )
    assert found.role in ROLES and found.whose in WHOSE and set(found.where) <= set(PLACES), found.id
    assert {found.restart, found.before_steps or "STOP"} <= set(RESTARTS), found.id
    return found
