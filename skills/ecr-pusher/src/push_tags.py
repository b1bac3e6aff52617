"""Which tags a push or a promotion gives, and why."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import push_names
import trainyard_shell as shell
from push_git import Commit, commit, sanitised

SEMVER = re.compile(r"(?P<v>v?)(?P<major>0|[1-9]\d{0,8})\.(?P<minor>0|[1-9]\d{0,8})\.(?P<patch>0|[1-9]\d{0,8})")
"""Releases only: 1.4.0-rc1 is not one."""
SHA_CHARS, MAX_CHARS = 12, 128
MOVING = "latest"


@dataclass(frozen=True)
class Tags:
    """The tags, the one to show first, and what is to be said about them."""

    names: tuple[str, ...]
    why: str
    checks: tuple[shell.Check, ...] = ()


@dataclass(frozen=True)
class Wish:
    """What a call says about tags."""

    tags: tuple[str, ...]
    strategy: str | None
    """auto | semver | git-sha | latest; None: auto, where no tag is named."""
    bump: str
    project: str

    def __post_init__(self) -> None:
        for each in self.tags:
            push_names.tag(each)

    @property
    def depends_on_image(self) -> bool:
        """Whether `choose` needs the digest, or what the repository has."""
        return self.strategy in ("semver", MOVING) or MOVING in self.tags

    def choose(self, digest: str, there: Callable[[], Mapping[str, str]]) -> Tags:
        """`there`: asks for tag -> digest of what the repository has. Raises SkillError usage, dependency."""
        if self.tags and self.strategy is None:
            return _with_warning(self.tags, "named in the call", digest)
        if self.strategy == MOVING:
            return _with_warning((*self.tags, MOVING), "latest", digest, self.project)
        if self.strategy == "semver":
            name, why = next_version(there(), self.bump, digest)
        elif self.strategy == "git-sha":
            name, why = of_sha(commit(self.project)), "the commit"
        else:
            name, why = of_commit(commit(self.project))
        return _with_warning(tuple(dict.fromkeys((name, *self.tags))), why, digest)


def _with_warning(names: tuple[str, ...], why: str, digest: str, project: str = "") -> Tags:
    """`latest` never stands alone: what is deployed must be findable when it has moved on."""
    if MOVING not in names:
        return Tags(names, why)
    fixed = [each for each in names if each != MOVING] or [_fixed(project, digest)]
    check = shell.Check(
        "tag.latest",
        "warn",
        "the tag latest moves: a node that has an older image under it may run that",
        f"beside it: {', '.join(fixed)}",
        "deploy `data.reference`, which has the digest",
    )
    return Tags((*fixed, MOVING), why, (check,))


def _fixed(project: str, digest: str) -> str:
    try:
        found = commit(project) if project else None
    except shell.SkillError:
        found = None
    return of_sha(found) if found and not found.dirty else digest.replace(":", "-")[: len("sha256-") + SHA_CHARS]


def of_sha(found: Commit) -> str:
    return found.sha[:SHA_CHARS] + ("-dirty" if found.dirty else "")


def of_commit(found: Commit) -> tuple[str, str]:
    """The git tag at HEAD of a clean project, else BRANCH-SHA."""
    if found.tags and not found.dirty:
        versions = [each for each in found.tags if SEMVER.fullmatch(each)]
        name = (versions or found.tags)[-1]
        return fitting(sanitised(name), ""), f"the git tag {name}"
    end = "-" + of_sha(found)
    branch = found.branch or "detached"
    return fitting(sanitised(branch), end), f"branch {branch}" if found.branch else "no branch is checked out"


def fitting(text: str, end: str) -> str:
    """A tag of the length that the grammar allows; what names the commit stays whole."""
    return push_names.tag(text[: MAX_CHARS - len(end)] + end)


def next_version(there: Mapping[str, str], bump: str, digest: str) -> tuple[str, str]:
    """(version, why): the one that this image has already, else one above the highest."""
    found = [match for tag in there if (match := SEMVER.fullmatch(tag))]
    own = [match for match in found if there[match[0]] == digest]
    if own:
        return max(own, key=_numbers)[0], "the version that this image has already"
    newest = max(found, key=_numbers, default=None)
    major, minor, patch = _numbers(newest) if newest else (0, 0, 0)
    numbers = {"major": (major + 1, 0, 0), "minor": (major, minor + 1, 0), "patch": (major, minor, patch + 1)}[bump]
    return (newest["v"] if newest else "") + ".".join(
        map(str, numbers)
    ), f"{bump} above {newest[0]}" if newest else "the first version"


def _numbers(match: re.Match[str]) -> tuple[int, int, int]:
    return int(match["major"]), int(match["minor"]), int(match["patch"])
