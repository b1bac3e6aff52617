"""The verb `build`: the call's words checked, each folder read, all of them built at once, and one answer."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import build_several
import build_source
import image_naming
import trainyard_shell as shell
from build_source import Source, Wanted, Wishes
from builders import answers, guarded, needs
from builders.commands import Caches, Output
from builders.engines import Engine
from builders.local_build import Order, build

MAX_FOLDERS = 32
AT_ONCE = 4
PLATFORM = re.compile(r"[a-z0-9]+/[a-z0-9]+(?:/v\d)?")


@dataclass(frozen=True)
class Options:
    """The call, checked."""

    wanted: Wanted
    wishes: Wishes
    write: bool
    name: str | None
    tag: str
    push: str | None
    archive: Path | None
    caches: Caches
    attempts: int
    timeout_s: float
    quiet: bool
    dry_run: bool


def options(given: dict[str, Any]) -> Options:
    """Raises SkillError usage."""
    if given["push"] and given["archive"]:
        raise shell.SkillError("usage", "--push and --archive: the image goes to one place", hint="one of the two")
    if given["platform"] and not PLATFORM.fullmatch(given["platform"]):
        raise shell.SkillError(
            "usage", f"--platform {shell.clean(given['platform'], 60)!r} is not OS/ARCH", hint="--platform linux/amd64"
        )
    wanted = Wanted(
        dockerfile=given["dockerfile"],
        target=given["target"],
        platform=given["platform"],
        build_args=build_source.build_args(given["build_arg"]),
        secrets=build_source.secrets(given["secret"]),
        allowed_secret_files=tuple(given["allow_secret_file"]),
        context_limit_bytes=given["context_limit"] << 20,
        options=() if given["network"] == "default" else (f"network={given['network']}",),
    )
    return Options(
        wanted=wanted,
        wishes=Wishes(
            **{name: given[name] for name in ("base", "instance_type", "job_network", "entry", "runtime_wheel", "user")}
        ),
        write=given["write"],
        name=image_naming.image_name(given["image_name"]) if given["image_name"] else None,
        tag=given["image_tag"] if given["image_tag"] == "auto" else image_naming.tag(given["image_tag"]),
        push=image_naming.repository(given["push"]) if given["push"] else None,
        archive=_archive(given["archive"]),
        caches=Caches(given["cache_from"], given["cache_to"], given["no_cache"]),
        attempts=given["attempts"],
        timeout_s=given["timeout"],
        quiet=given["quiet"],
        dry_run=given["dry_run"],
    )


def _archive(text: str | None) -> Path | None:
    if text is None:
        return None
    path = Path(os.path.abspath(text))
    if re.search(r"[,\"\n\r\0]", str(path)) or not path.parent.is_dir():
        message = f"--archive {shell.clean(text, 200)!r}: its folder must exist, and its name hold no comma or quote"
        raise shell.SkillError("usage", message, hint="--archive my-project.tar")
    return path


def build_all(folders: Sequence[str], options: Options, found: Future[Engine]) -> shell.Result:
    """With the engine that is being looked for. Raises SkillError: for one folder with its cause's code, for several usage errors only."""
    if len(folders) > MAX_FOLDERS or (len(folders) > 1 and (options.name or options.archive or options.push)):
        message = f"{len(folders)} folders: at most {MAX_FOLDERS}, and each gets its own name: without --image-name, --push and --archive"
        raise shell.SkillError("usage", message, hint="a call for each folder")
    sources = [build_several.read(each, options) for each in folders]
    outputs = [Output(*build_several.named(source, options), options.push, options.archive) for source in sources]
    build_several.refuse_twice([each.reference for each in outputs])
    engine = found.result()
    if not engine.has_store and not (options.push or options.archive):
        raise shell.SkillError(
            "usage", "buildctl keeps no images: say where this one goes", hint="--push REPOSITORY, or --archive FILE.tar"
        )
    if engine.kind == "docker" and options.archive:
        raise shell.SkillError(
            "usage", "--archive needs buildx or buildctl", hint="build without it, then `docker save -o FILE IMAGE`"
        )
    orders = [
        _order(source, output, engine, options, len(sources) > 1) for source, output in zip(sources, outputs, strict=True)
    ]
    checks = [
        build_several.told(order.prefix, _judged(source, engine, options))
        for order, source in zip(orders, sources, strict=True)
    ]
    if options.dry_run:
        return answers.plan(sources, orders, checks)
    written = build_several.written(sources, options)
    for source, some in zip(sources, checks, strict=True):
        build_several.show(source, some)
    ended = build_several.together(_ended, orders, AT_ONCE, guarded.stop_all, waits=True)
    return answers.answer(orders, checks, ended, written)


def _judged(source: Source, engine: Engine, options: Options) -> list[shell.Check]:
    return [*build_several.checks(source), *needs.checks(source.recipe, engine, options.caches.goals)]


def _order(source: Source, output: Output, engine: Engine, options: Options, several: bool) -> Order:
    prefix = f"[{output.name}] " if several else ""
    return Order(
        engine,
        source.recipe,
        source.listing,
        output,
        options.caches,
        options.timeout_s,
        options.attempts,
        options.quiet,
        prefix,
    )


def _ended(order: Order) -> answers.Ended:
    """A build that cannot go on does not end the others."""
    try:
        return build(order)
    except shell.SkillError as error:
        return error
