"""The private folder of one build: its copy of the Dockerfile, its ignore file, and where files are replaced its copy of the context.

It is locked while its build lives. A guard removes it at the end; what a machine that lost power left is removed by the next build.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import trainyard_shell as shell
from build_context.listing import Listing, listed
from build_recipe import Recipe

PREFIX = "trainyard-image-builder-"
FREE_SPACE = "free some space, or set TMPDIR to a larger disk"


@contextlib.contextmanager
def workspace(name: str = "") -> Iterator[Path]:
    """A new folder of mode 0700 that is gone at the end. Raises SkillError where it cannot be made.

    BuildKit knows a folder by its path: with the `name` of the image the Dockerfile is no new source for every build.
    """
    _remove_dead()
    try:
        place = _made(name)
        handle = os.open(place / "lock.new", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX)
        (place / "lock.new").rename(place / "lock")  # nobody sees it before it is locked
    except OSError as error:
        raise shell.cannot_write(tempfile.gettempdir(), error, FREE_SPACE) from error
    try:
        yield place
    finally:
        os.close(handle)
        shutil.rmtree(place, ignore_errors=True)


def _made(name: str) -> Path:
    """Of that name, where nobody has a folder of it: another build, or another user who means ill."""
    prefix = f"{PREFIX}{os.getuid()}-"
    if name:
        place = Path(tempfile.gettempdir(), prefix + hashlib.sha256(name.encode()).hexdigest()[:16])
        with contextlib.suppress(FileExistsError):
            place.mkdir(mode=0o700)
            return place
    return Path(tempfile.mkdtemp(prefix=prefix))


def _remove_dead() -> None:
    for place in Path(tempfile.gettempdir()).glob(f"{PREFIX}{os.getuid()}-*"):
        with contextlib.suppress(OSError):
            handle = os.open(place / "lock", os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(place, ignore_errors=True)
            finally:
                os.close(handle)


def fill(place: Path, recipe: Recipe, listing: Listing) -> Path:
    """Writes the recipe into the folder; returns the context's own. Raises SkillError where the disk is full."""
    try:
        (place / "Dockerfile").write_text(recipe.dockerfile, encoding="utf-8", newline="")
        (place / "Dockerfile.dockerignore").write_bytes(recipe.ignore_file)
        if not recipe.files:
            return recipe.folder
        context = place / "context"
        shutil.rmtree(context, ignore_errors=True)
        _copy(listing, context)
        for name, data in recipe.files:
            path = context / name
            path.parent.mkdir(parents=True, exist_ok=True)
            mode = path.stat().st_mode & 0o7777 if path.is_file() else 0o644
            path.unlink(missing_ok=True)
            path.write_bytes(data)
            path.chmod(mode)
        # The copy lacks what is left out. Not an empty file: BuildKit would take the context's own in its place.
        (place / "Dockerfile.dockerignore").write_bytes(b"# what is left out was not copied\n")
        return context
    except OSError as error:
        raise shell.cannot_write(place, error, FREE_SPACE) from error


def of_recipe(recipe: Recipe, first: Recipe, listing: Listing) -> Listing:
    """The listing that a recipe is built from: that of the first, until an attempt lets more into the context."""
    return listing if recipe.ignore == first.ignore else listed(recipe.folder, recipe.ignore, 1 << 62)


def _copy(listing: Listing, context: Path) -> None:
    context.mkdir()
    folders = []
    for each in listing.entries:
        goal = context / each.path
        if each.kind == "folder":
            goal.mkdir(exist_ok=True)
            folders.append((goal, each.mode))
        elif each.kind == "link":
            goal.symlink_to(each.target)
        else:
            shutil.copy2(listing.root / each.path, goal, follow_symlinks=False)
    for goal, mode in reversed(folders):
        goal.chmod(mode)  # last: a folder without write permission could not be filled
