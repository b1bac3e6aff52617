"""The folders of one `build`, however they are built: each read, named, shown, and all of them built side by side.

What makes a Dockerfile is imported only where there is none: it takes longer to start than all the rest of a rebuild.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Protocol, TypeVar

import build_source
import image_naming
import trainyard_shell as shell
from build_source import Source, Wanted, Wishes

Order = TypeVar("Order")
Ended = TypeVar("Ended")


class Options(Protocol):
    """What both calls say."""

    @property
    def wanted(self) -> Wanted: ...
    @property
    def wishes(self) -> Wishes: ...
    @property
    def write(self) -> bool: ...
    @property
    def name(self) -> str | None: ...
    @property
    def tag(self) -> str: ...


def read(path: str, options: Options) -> Source:
    """Raises SkillError for whatever a build would stop at."""
    folder = build_source.opened(path)
    name = build_source.dockerfile_of(folder, options.wanted.dockerfile)
    if name is not None:
        return build_source.given(folder, name, options.wanted)
    from generated.source import generated

    return generated(folder, options.wanted, options.wishes)


def checks(source: Source) -> list[shell.Check]:
    """What was found in the source, and about a Dockerfile that nobody has read yet."""
    if not source.recipe.generated:
        return list(source.checks)
    from generated.source import checks as of_generated

    return [*source.checks, *of_generated(source)]


def told(prefix: str, checks: Iterable[shell.Check]) -> list[shell.Check]:
    """With several folders each check says whose it is."""
    return [replace(each, summary=prefix + each.summary) for each in checks]


def named(source: Source, options: Options) -> tuple[str, str]:
    """The image's name and tag."""
    tag = f"build-{source.recipe.source_digest[:12]}" if options.tag == "auto" else options.tag
    return options.name or image_naming.from_folder(source.folder.path), tag


def refuse_twice(references: Sequence[str]) -> None:
    """Raises SkillError usage where two folders would be one image."""
    if twice := sorted({each for each in references if references.count(each) > 1}):
        raise shell.SkillError("usage", f"two folders would give {', '.join(twice)}", hint="a call for each, with --image-name")


def written(sources: Iterable[Source], options: Options) -> list[str]:
    """What `--write` has put into the folders."""
    made = [source for source in sources if options.write and source.recipe.generated]
    if not made:
        return []
    from generated.source import write

    return [f"{name} in {source.folder.path}" for source in made for name in write(source)]


def show(source: Source, checks: Iterable[shell.Check]) -> None:
    """Before it is built: what it warns of, and a Dockerfile that nobody has read yet."""
    for each in checks:
        if each.status == "warn":
            shell.progress(f"{each.id}: {each.summary}" + (f" ({each.fix})" if each.fix else ""))
    if source.recipe.generated:
        shell.progress(f"{source.folder.path.name} has no Dockerfile; this one is built:")
        for line in source.recipe.dockerfile.splitlines():
            shell.progress(f"    {line}")


def together(
    build: Callable[[Order], Ended], orders: Sequence[Order], at_once: int, stop: Callable[[], None], *, waits: bool
) -> list[Ended]:
    """`build` of each, so many at once. Ctrl-C: `stop` tells those that run, and with `waits` their ends are waited for."""
    pool = ThreadPoolExecutor(min(at_once, len(orders)))
    try:
        return list(pool.map(build, orders))
    except BaseException:
        stop()
        raise
    finally:
        pool.shutdown(wait=waits, cancel_futures=True)
