"""A recipe as the ZIP that CodeBuild takes: the context at the top, the build's own Dockerfile in a folder beside it.

The remote build reads Dockerfile and ignore file from that folder, which its ignore file leaves out of the context: what the user's
own ignore file leaves out is not in the ZIP at all.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import trainyard_shell as shell
from attempts.remedies import AUTHORITY
from build_context import archive, hashes, ignore, listing
from build_context.listing import Listing
from build_recipe import Recipe
from builders.workspace import fill

OWN = ".trainyard-build"
DOCKERFILE = f"{OWN}/Dockerfile"
FORMAT = b"trainyard codebuild source 1\n"
MAX_OWN_BYTES = 4 << 20


def own_files(recipe: Recipe) -> dict[str, bytes]:
    """What lies in the ZIP besides the context."""
    files = {DOCKERFILE: recipe.dockerfile.encode(), f"{DOCKERFILE}.dockerignore": f"{OWN}\n".encode()}
    for _, file in _authorities(recipe):
        files[f"{OWN}/{AUTHORITY}"] = file.read_bytes()[:MAX_OWN_BYTES]
    return files


def _authorities(recipe: Recipe) -> list[tuple[str, Path]]:
    """The certificates that a remedy has put in: public, and the only secret of a recipe here."""
    parts = [dict(part.partition("=")[::2] for part in each.split(",")) for each in recipe.secrets]
    assert all(each["id"] == AUTHORITY for each in parts)
    return [(each["id"], Path(each["src"])) for each in parts]


def secret_words(recipe: Recipe) -> tuple[str, ...]:
    """For `--secret` of the remote build, whose working folder is the source."""
    return tuple(f"id={name},src={OWN}/{AUTHORITY}" for name, _ in _authorities(recipe))


def key(recipe: Recipe) -> str:
    """The SHA-256 of all that the ZIP holds: an unchanged source has its key without being packed."""
    whole = hashlib.sha256(FORMAT + recipe.context_digest.encode())
    for name, data in [*sorted(own_files(recipe).items()), *sorted(recipe.files)]:
        whole.update(json.dumps([name, hashlib.sha256(data).hexdigest()]).encode())
    return whole.hexdigest()


def packer(
    recipe: Recipe, found: Listing, known: dict[str, hashes.Known], place: Path
) -> Callable[[], tuple[archive.Stream, int]]:
    """Gives, on call, the ZIP to be read, and how many bytes it has at most but for its headers. `place`: the build's own folder.

    Raises SkillError: a file changed, the disk is full.
    """

    def pack() -> tuple[archive.Stream, int]:
        context = fill(place, recipe, found)
        at, whole = (found, known) if not recipe.files else _copied(context)
        shell.progress(f"packing {len(at.files)} files, {listing.size_text(at.size_bytes)}")
        return archive.Stream(at, whole, tuple(sorted(own_files(recipe).items()))), at.size_bytes

    return pack


def _copied(context: Path) -> tuple[Listing, dict[str, hashes.Known]]:
    """The build's copy, from which everything that is left out is left out already."""
    found = listing.listed(context, ignore.parse(b"", None))
    return found, hashes.known(found)
