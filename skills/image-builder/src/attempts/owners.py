"""A user of the image who may not write where the build writes: the folder that root made before USER, or a home that is not there.

Root stays out of it: the folder is given to the user before USER, and USER stays where it is.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, replace

from attempts import edits
from attempts.causes import Cause, classified
from attempts.context_files import place
from build_recipe import Recipe
from dockerfiles.stages import Stage
from dockerfiles.text import Instruction

PATHS = (
    re.compile(r"Permission denied: b?['\"](?P<path>[^'\"]+)"),
    re.compile(
        r"(?:cannot|can't|Cannot) (?:create|touch|open|remove|move|access|stat|write)(?: (?:directory|regular file|file|temporary file))? ['\u2018\"]?(?P<path>[^'\u2019\":]+?)['\u2019\"]?(?: for writing)?: Permission denied"
    ),
    re.compile(r"(?:sh|bash): (?:line )?(?:\d+: )?(?:cannot create )?(?P<path>[^:\s]+): Permission denied"),
    re.compile(
        r"could not create '(?P<path>[^']+)': Permission denied|[Ff]ailed to (?:create|open|write)[^`]*`(?P<path2>[^`]+)`"
    ),
    re.compile(r"(?P<path>/[^\s:'\"]+)['\"]?: Permission denied|open (?P<path2>/\S+): permission denied"),
)
SYSTEM = ("bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "proc", "root", "run", "sbin", "sys", "usr", "var")
INSTALLER = re.compile(r"\b(?:apt-get|apt|dnf|yum|apk)\b")
HOMELESS = re.compile(r"/(?:\.cache|\.local|\.config|\.triton|\.nv|\.keras|\.conda|nonexistent)(?:/|$)")
LIBRARIES = re.compile(r"/(?:site|dist)-packages(?:/|$)|/usr/local/(?:lib|bin)|/opt/conda")


@dataclass(frozen=True)
class Refused:
    """A path that the user of a RUN may not write."""

    path: str
    """Absolute in the image."""
    user: str
    stage: Stage
    run: Instruction
    set_by: Instruction
    """The USER that holds at the RUN."""
    work: str
    """WORKDIR at the RUN."""

    @property
    def home(self) -> bool:
        return bool(HOMELESS.match(self.path))

    @property
    def folder(self) -> str | None:
        """What could be given to the user: WORKDIR where the path lies in it, else the folder of the path, never one of the system's."""
        inside = self.path == self.work or self.path.startswith(f"{self.work.rstrip('/')}/")
        found = self.work if inside and self.work != "/" else posixpath.dirname(self.path)
        return None if found in ("", "/") or found.split("/")[1] in SYSTEM or found == "/home" else found


def refused(recipe: Recipe, cause: Cause) -> Refused | None:
    """None where root itself is refused, or the log names no path."""
    found = edits.failed(recipe, cause.cut)
    match = next((match for pattern in PATHS if (match := pattern.search(cause.line))), None)
    if found is None or match is None:
        return None
    stage, run = found
    user = edits.user_at(stage, run)
    set_by = next((one for one, _ in reversed(stage.body) if one.keyword == "USER" and one.line < run.line), None)
    if user is None or set_by is None:
        return None
    work = recipe.parsed.workdir(stage, run)
    path = next(value for value in match.groupdict().values() if value)
    return Refused(posixpath.normpath(posixpath.join(work, path)), user, stage, run, set_by, work)


def explained(recipe: Recipe, cause: Cause) -> Cause | None:
    if cause.kind != "permission" or cause.id != "permission":
        return None
    found = refused(recipe, cause)
    if found is None:
        return _without_path(recipe, cause)
    lines = [f"{recipe.dockerfile_name}:{found.set_by.line}: USER {found.set_by.value}", place(recipe, found.run)]
    return classified(
        cause, "permission", fix=_fix(recipe, found), places=lines, what=f"the user {found.user} may not write {found.path}"
    )


def _fix(recipe: Recipe, found: Refused) -> str:
    keep = f"before USER {found.user} (line {found.set_by.line})"
    cached = [
        mount
        for mount in found.run.mounts
        if mount.get("type") == "cache" and found.path.startswith(mount.get("target") or mount.get("dst") or "\0")
    ]
    if cached:
        return f"the cache mount belongs to root: --mount=type=cache,target={cached[0].get('target') or cached[0].get('dst')},uid=1000 with the number of {found.user}, in line {found.run.line}"
    if found.home:
        return f"{found.user} has no home folder, so its caches go to /: RUN useradd --create-home {_account(found.user)} {keep}, or ENV HOME=/tmp/home"
    if LIBRARIES.search(found.path):
        return f"the packages of this Python belong to root: install them {keep}, or with `pip install --user`, or in a virtual environment that {found.user} owns; USER {found.user} stays"
    if INSTALLER.search(found.run.value):
        return f"only root installs packages of the system: move that RUN {keep}; USER {found.user} stays"
    if found.folder is None:
        return f"{found.path} belongs to the system: let {found.user} write somewhere else, or do it {keep}; USER {found.user} stays"
    if found.folder != found.work:
        return f"{found.folder} belongs to root: RUN {_chown(found)} {keep}; USER {found.user} stays"
    return (
        f"{found.folder} belongs to root, for WORKDIR and COPY make folders as root: RUN {_chown(found)} {keep}; "
        f"COPY --chown={_name(found.user)} gives the files only, not the folder; USER {found.user} stays"
    )


def _name(user: str) -> str:
    return user.partition(":")[0]


def _account(user: str) -> str:
    return f"--uid {_name(user)} trainer" if _name(user).isdigit() else _name(user)


def _chown(found: Refused) -> str:
    made = f"mkdir -p {found.folder} && " if found.folder != found.work else ""
    owner = found.user if ":" in found.user else f"{found.user}:" if not found.user.isdigit() else found.user
    return f"{made}chown {owner} {found.folder}"


def _without_path(recipe: Recipe, cause: Cause) -> Cause | None:
    """The log names no path: who runs that step still says what is missing."""
    found = edits.failed(recipe, cause.cut)
    if found is None:
        return None
    stage, run = found
    chain = [(one, each) for each in recipe.parsed.chain(stage) for one, _ in each.body if one.keyword == "USER"]
    before = [one for one, each in chain if each is not stage or one.line < run.line]
    if not before:
        image = recipe.parsed.chain(stage)[-1].image
        fix = f"the Dockerfile sets no USER, so that of {image} holds, which is not root: USER root before line {run.line}, and that user again behind it"
        return classified(cause, "permission", fix=fix, places=[place(recipe, run)])
    last = max(before, key=lambda one: one.line)
    user = last.value.strip()
    what = "only root installs packages of the system" if INSTALLER.search(run.value) else "what that step does is root's"
    fix = f"{what}: move it before USER {user} (line {last.line}); USER {user} stays"
    return classified(cause, "permission", fix=fix, places=[place(recipe, last), place(recipe, run)])


def given_to_user(recipe: Recipe, cause: Cause) -> tuple[str, Recipe] | None:
    """The folder becomes the user's in the line before USER."""
    found = refused(recipe, cause)
    if (
        found is None
        or found.folder is None
        or found.home
        or LIBRARIES.search(found.path)
        or not re.fullmatch(r"[\w./-]+", found.folder)
        or not re.fullmatch(r"[\w.:-]+", found.user)
    ):
        return None
    if (
        any(found.path.startswith(mount.get("target", "\0")) for mount in found.run.mounts)
        or edits.user_at(found.stage, found.set_by) is not None
    ):
        return None
    line = f"RUN {_chown(found)}"
    text = edits.inserted(recipe.dockerfile, found.set_by.line, [line])
    return (
        (f"{found.folder} is given to {found.user} before USER", replace(recipe, dockerfile=text))
        if line not in recipe.dockerfile
        else None
    )


def home_of_user(recipe: Recipe, cause: Cause) -> tuple[str, Recipe] | None:
    """A home for a user without one, which any user can write."""
    found = refused(recipe, cause)
    if (
        found is None
        or not found.home
        or edits.user_at(found.stage, found.set_by) is not None
        or "ENV HOME=" in recipe.dockerfile
    ):
        return None
    lines = ["RUN mkdir -p -m 1777 /tmp/home", "ENV HOME=/tmp/home"]
    return f"a home folder for {found.user}", replace(
        recipe, dockerfile=edits.inserted(recipe.dockerfile, found.set_by.line, lines)
    )
