"""A project folder -> its source, with the user's Dockerfile or with one that is made.

What makes one is imported only where there is none: it takes longer to start than all the rest of a rebuild.
"""

from __future__ import annotations

import build_source
import trainyard_shell as shell
from build_source import Source, Wanted, Wishes


def source_of(path: str, wanted: Wanted, wishes: Wishes) -> Source:
    """Raises SkillError for whatever a build would stop at."""
    folder = build_source.opened(path)
    name = build_source.dockerfile_of(folder, wanted.dockerfile)
    if name is not None:
        return build_source.given(folder, name, wanted)
    from generated.source import generated

    return generated(folder, wanted, wishes)


def checks(source: Source) -> list[shell.Check]:
    """What was found in the source, and about a Dockerfile that nobody has read yet."""
    if not source.recipe.generated:
        return list(source.checks)
    from generated.source import checks as of_generated

    return [*source.checks, *of_generated(source)]


def kept(source: Source) -> list[str]:
    """--write: the generated files in the project; their names. Raises SkillError conflict."""
    if not source.recipe.generated:
        return []
    from generated.source import write

    return write(source)


def show(source: Source) -> None:
    """A generated Dockerfile on stderr."""
    if source.recipe.generated:
        shell.progress(f"{source.folder.path.name} has no Dockerfile; this one is built:")
        for line in source.recipe.dockerfile.splitlines():
            shell.progress(f"    {line}")
