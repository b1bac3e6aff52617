"""A project folder -> what is built of it: context, secrets in it, Dockerfile, digest. Nothing is built or sent anywhere here."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import trainyard_files
import trainyard_shell as shell
from asked.files import Folder, open_folder
from attempts import foreseen
from build_context import hashes, ignore, listing
from build_context.hashes import Known
from build_context.listing import Entry, Listing
from build_context.sensitive import ENVIRONMENT, by_name, holds_values
from build_recipe import Recipe
from dockerfiles.stages import DOCKERFILES, parse
from dockerfiles.text import NotADockerfile
from trainyard_secrets import is_secret

MAX_DOCKERFILE_BYTES = 1 << 20
ARG = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


@dataclass(frozen=True)
class Wanted:
    """What a caller says about the source; the same for every way of building."""

    dockerfile: str | None = None
    target: str | None = None
    platform: str | None = None
    build_args: tuple[tuple[str, str], ...] = ()
    secrets: tuple[str, ...] = ()
    allowed_secret_files: tuple[str, ...] = ()
    context_limit_bytes: int = listing.DEFAULT_LIMIT_BYTES
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Wishes:
    """What the call says about a generated Dockerfile."""

    base: str | None = None
    instance_type: str | None = None
    job_network: str = "auto"
    entry: str | None = None
    runtime_wheel: str | None = None
    user: str | None = None


@dataclass(frozen=True)
class Source:
    """What will be built."""

    folder: Folder
    listing: Listing
    known: dict[str, Known]
    recipe: Recipe
    checks: tuple[shell.Check, ...]
    notes: tuple[str, ...] = ()
    """How a generated Dockerfile came about."""


def dockerfile_of(folder: Folder, named: str | None) -> str | None:
    """Its name, relative to the folder; None where one is to be generated. Raises SkillError usage where the named one is not there."""
    if named is None:
        return next((name for name in DOCKERFILES if folder.exists(name)), None)
    name = posixpath.normpath(named)
    if posixpath.isabs(name) and folder.inside(name):
        name = posixpath.relpath(name, folder.path)
    if not folder.exists(name):
        message = f"no Dockerfile {shell.clean(named, 200)} in {folder.path.name}"
        raise shell.SkillError("usage", message, hint="--dockerfile PATH, relative to the folder and in it")
    return name


def given(folder: Folder, name: str, wanted: Wanted) -> Source:
    """The source with the user's own Dockerfile. Raises SkillError for whatever a build would stop at."""
    text = text_of(folder, name)
    try:
        stages = parse(text, name, dict(wanted.build_args)).stages
    except NotADockerfile as error:
        message = f"{shell.clean(name, 200)} does not parse: {shell.clean(str(error), 300)}"
        raise shell.SkillError("usage", message, hint="correct that line; `docker build` would stop there too") from error
    if (
        wanted.target
        and not any(each.name and each.name.lower() == wanted.target.lower() for each in stages)
        and not wanted.target.isdigit()
    ):
        names = ", ".join(each.name for each in stages if each.name) or "none has a name"
        raise shell.SkillError(
            "usage", f"{name} has no stage {shell.clean(wanted.target, 60)!r}", hint=f"its stages: {shell.clean(names, 300)}"
        )
    left_out = ignore.read(folder.path, folder.path / name)
    return sourced(folder, left_out, text, name, wanted, generated=False)


def sourced(
    folder: Folder,
    left_out: ignore.Ignore,
    text: str,
    name: str,
    wanted: Wanted,
    *,
    generated: bool,
    files: Sequence[tuple[str, bytes]] = (),
    notes: Sequence[str] = (),
) -> Source:
    """Raises SkillError usage: over the limit, a file that looks like a secret; permission."""
    found = listing.listed(folder.path, left_out, wanted.context_limit_bytes)
    known = hashes.known(found)
    refuse_secrets(found, known, wanted.allowed_secret_files)
    recipe = Recipe(
        folder=folder.path,
        context_digest=hashes.digest(found, known),
        dockerfile=text,
        dockerfile_name=name,
        generated=generated,
        ignore=left_out,
        build_args=wanted.build_args,
        secrets=wanted.secrets,
        target=wanted.target,
        platform=wanted.platform,
        files=tuple(files),
        options=wanted.options,
    )
    return Source(folder, found, known, recipe, (*_checks(found, left_out, wanted), *foreseen.checks(recipe)), tuple(notes))


def opened(path: str) -> Folder:
    return open_folder(path)


def text_of(folder: Folder, name: str) -> str:
    """As it stands, line ends included."""
    if folder.text(name, MAX_DOCKERFILE_BYTES) is None:
        why = folder.unread.get(shell.clean(name, 200), "it cannot be read")
        raise shell.SkillError(
            "usage", f"{shell.clean(name, 200)} cannot be used: {why}", hint="a Dockerfile is some pages of text"
        )
    return (folder.path / name).read_bytes().decode("utf-8-sig")


def refuse_secrets(found: Listing, known: dict[str, Known], allowed: Sequence[str]) -> None:
    """Raises SkillError usage with the name of every file that looks like a secret and was not allowed."""
    hits = []
    for each in found.entries:
        what = by_name(each.path) if each.kind != "folder" else None
        what = None if what == ENVIRONMENT and _is_template(found.root, each) else what
        what = what or (known[each.path].secret if each.kind == "file" else None)
        if what and each.path not in allowed:
            hits.append({"path": shell.clean(each.path, 200), "what": what})
    if hits:
        told = ", ".join(f"{hit['path']} ({hit['what']})" for hit in hits[:5]) + (
            f" and {len(hits) - 5} more" if len(hits) > 5 else ""
        )
        hint = f"add them to .dockerignore, or --allow-secret-file {hits[0]['path']} if it is meant to be in the context"
        raise shell.SkillError(
            "usage", f"the build context holds what looks like secrets: {told}", hint=hint, data={"secret_files": hits[:100]}
        )


def _is_template(root: Path, each: Entry) -> bool:
    """Whether an environment file holds names without values."""
    try:
        return each.kind == "file" and not holds_values(trainyard_files.read_regular(root / each.path, MAX_DOCKERFILE_BYTES))
    except (OSError, trainyard_files.Unusable):
        return False


def _checks(found: Listing, left_out: ignore.Ignore, wanted: Wanted) -> list[shell.Check]:
    told = f"{len(found.files)} files, {listing.size_text(found.size_bytes)}"
    checks = [shell.Check("context.files", "pass", told, f"ignore file: {left_out.source or 'none'}")]
    if found.left_out:
        told = ", ".join(found.left_out[:5])
        checks.append(
            shell.Check("context.special", "warn", f"{len(found.left_out)} pipes, sockets or devices are left out", told)
        )
    proxies = [name for name, value in wanted.build_args if is_secret(name, value)]
    if proxies:
        summary = f"--build-arg {', '.join(proxies)}: a proxy's password is seen by whoever sees this machine's processes"
        checks.append(shell.Check("build.arg", "warn", summary, fix="a proxy without a password in its URL"))
    return checks


def build_args(given: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """`K=V` of the command line. Raises SkillError usage."""
    found = {}
    for each in given:
        name, is_set, value = each.partition("=")
        if not is_set or not ARG.fullmatch(name) or "\0" in value or "\n" in value:
            raise shell.SkillError(
                "usage", f"--build-arg {shell.clean(name, 60)!r} is not NAME=VALUE", hint="--build-arg VERSION=1.2"
            )
        if is_secret(name, value) and not name.upper().endswith("_PROXY"):
            raise shell.SkillError(
                "usage",
                f"--build-arg {name} holds what looks like a secret: it stays readable in the image's history",
                hint="--secret id=NAME,src=FILE, and RUN --mount=type=secret,id=NAME",
            )
        found[name] = value
    return tuple(found.items())


def secrets(given: Sequence[str]) -> tuple[str, ...]:
    """`id=NAME,src=FILE`. Raises SkillError usage; the values stay where they are."""
    found = []
    for each in given:
        parts = dict(part.partition("=")[::2] for part in each.split(","))
        file = parts.get("src") or parts.get("source")
        known = set(parts) <= {"id", "src", "source", "type", "env"}
        if not known or not re.fullmatch(r"[A-Za-z0-9_.-]{1,100}", parts.get("id", "")) or not (file or parts.get("env")):
            raise shell.SkillError(
                "usage", f"--secret {shell.clean(each, 80)!r} is not id=NAME,src=FILE", hint="--secret id=pip,src=pip.conf"
            )
        if file and not Path(file).is_file():
            raise shell.SkillError(
                "usage", f"--secret {parts['id']}: no file {shell.clean(file, 200)}", hint="--secret id=NAME,src=FILE"
            )
        found.append(f"id={parts['id']},src={Path(file).resolve()}" if file else f"id={parts['id']},env={parts['env']}")
    return tuple(found)
