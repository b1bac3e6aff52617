"""One folder built by the builder of this machine: its attempts, its image, and the row that the answer has for it."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import trainyard_shell as shell
from attempts.trying import Attempts, Ran, attempted
from build_context.hashes import cache_folder
from build_context.listing import Listing
from build_recipe import Recipe
from builders import commands, guarded, results
from builders.commands import Caches, Output
from builders.engines import Engine
from builders.logs import BuildLog
from builders.results import Built
from builders.workspace import fill, of_recipe, workspace


@dataclass(frozen=True)
class Order:
    """What is to be built, by what, and where it goes."""

    engine: Engine
    recipe: Recipe
    listing: Listing
    output: Output
    caches: Caches
    timeout_s: float
    attempts: int
    quiet: bool = False
    prefix: str = ""


def build(order: Order) -> tuple[dict[str, Any], Attempts[Built]]:
    """Builds it. Returns the answer's row and how it ended. Raises SkillError conflict where the same tag is being built."""
    with (
        one_at_a_time(order.output.reference),
        workspace(order.output.reference) as place,
        BuildLog(order.output.name, prefix=order.prefix, quiet=order.quiet) as log,
    ):
        archive = _beside(order.output.archive)
        try:
            ended = attempted(order.recipe, lambda recipe: _attempt(order, recipe, place, archive, log), order.attempts)
            if ended.image is not None and archive is not None and order.output.archive is not None:
                archive.replace(order.output.archive)
        except OSError as error:
            raise shell.cannot_write(order.output.archive or place, error, "free some space") from error
        finally:
            if archive is not None:
                with contextlib.suppress(OSError):
                    archive.unlink()
    return row(order, ended, log.path), ended


def row(order: Order, ended: Attempts[Built], log: Path) -> dict[str, Any]:
    built = ended.image
    return {
        "image": order.output.push or order.output.name,
        "tag": order.output.tag,
        "digest": built.digest if built else None,
        "image_id": built.image_id if built else None,
        "size_bytes": built.size_bytes if built else None,
        "seconds": round(sum(each["seconds"] for each in ended.rows), 3),
        "attempts": ended.rows,
        "log": str(log),
        "source_digest": order.recipe.source_digest,
        "builder": order.engine.told,
        "dockerfile": "generated" if order.recipe.generated else "given",
        "folder": str(order.recipe.folder),
        "archive": str(order.output.archive) if order.output.archive else None,
    }


def _attempt(order: Order, recipe: Recipe, place: Path, archive: Path | None, log: BuildLog) -> Ran[Built]:
    log.lines.clear()
    context = fill(place, recipe, of_recipe(recipe, order.recipe, order.listing))
    for name in ("metadata.json", "image-id"):
        (place / name).unlink(missing_ok=True)
    words = commands.command(order.engine, recipe, order.output, order.caches, place, context, archive)
    remove = [place] if archive is None else [place, archive]
    ended = _run(words, order, log, remove, order.timeout_s)
    seconds = ended.seconds
    if ended.code == 0 and order.output.push and order.engine.kind == "docker":
        ended = _push(order, log, max(1.0, order.timeout_s - seconds))
        seconds += ended.seconds
    built = results.read(order.engine, order.output, place, archive) if ended.code == 0 else None
    return Ran(built, list(log.lines), seconds, ended.timed_out and ended.code != 0)


def _run(words: list[str], order: Order, log: BuildLog, remove: list[Path], timeout_s: float) -> guarded.Ended:
    """The folder is removed by the guard only when this process is gone: while it lives the next attempt needs it."""
    return guarded.run(words, log.take, timeout_s=timeout_s, env=commands.ENVIRONMENT, orphaned=remove)


def _push(order: Order, log: BuildLog, timeout_s: float) -> guarded.Ended:
    log.lines.clear()  # the build went well: why a push fails stands behind it
    words = [order.engine.program, "push", order.output.reference]
    return guarded.run(words, log.take, timeout_s=timeout_s, env=commands.ENVIRONMENT)


def _beside(archive: Path | None) -> Path | None:
    """A name in the archive's own folder, for the file until it is whole."""
    return archive.with_name(f".{archive.name}.{secrets.token_hex(4)}.tmp") if archive else None


@contextlib.contextmanager
def one_at_a_time(reference: str) -> Iterator[None]:
    """Raises SkillError conflict where another process builds the same name and tag."""
    path = cache_folder() / f"lock-{hashlib.sha256(reference.encode()).hexdigest()[:16]}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise shell.cannot_write(path, error, "set XDG_CACHE_HOME to a folder that can be written") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        message = f"another build of {reference} is running on this machine"
        raise shell.SkillError("conflict", message, hint="wait for it, or another --image-tag", retryable=True) from error
    try:
        yield
    finally:
        os.close(handle)


def named(output: Output, tag: str) -> Output:
    return replace(output, tag=tag)
