"""What is built once and kept: each part is a folder of the cache that is made whole or not at all."""

from __future__ import annotations

import fcntl
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.components.cluster.packages import install_packages
from tests.components.cluster.place import cache
from tests.components.images import base_image, buildkit_programs, new_docker_programs
from tests.components.images.packages import FOR_NEW_DOCKER, PROGRAMS
from tests.components.images.small_torch import wheel

MAKERS: dict[str, Callable[[Path], None]] = {
    "buildkit": buildkit_programs.make,
    "base": base_image.make,
    "small-torch": wheel.make,
    "new-docker": new_docker_programs.make,
}
"""Part -> what makes it in a folder that is empty."""
ALL = ("buildkit", "base", "small-torch")
"""What every test may use; the others are for `make test-images`."""


def versions() -> dict[str, str]:
    """Part -> the version in its folder's name: what it is made from decides it."""
    text = (Path(__file__).parent / "versions.env").read_text()
    said = dict(re.findall(r"^(\w+)=(\S+)$", text, re.MULTILINE))
    return {
        "buildkit": said["BUILDKIT"],
        "base": f"{said['BASE']}-{base_image.certificates_digest()[:12]}",
        "small-torch": f"{said['SMALL_TORCH']}-{wheel.torch_version()}",
        "new-docker": said["NEW_DOCKER"],
    }


def folder(part: str) -> Path:
    return cache() / f"{part}@{versions()[part]}"


def missing(parts: Iterable[str] = ALL) -> list[str]:
    wanted = set(parts)
    return [part for part in MAKERS if part in wanted and not folder(part).is_dir()]


@contextmanager
def alone() -> Iterator[None]:
    """Waits for another session's build; the kernel frees the lock of one that was killed."""
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / "images.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def build(parts: Iterable[str] = ALL) -> None:
    """Make what the cache lacks, and say on stderr how long each took. Raises CalledProcessError, OSError."""
    wanted = tuple(parts)
    if not missing(wanted):
        return
    with alone():
        install_packages(PROGRAMS | (FOR_NEW_DOCKER if "new-docker" in wanted else {}))
        for part in missing(wanted):
            began = time.monotonic()
            build_one(part)
            print(f"{part}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)


def build_one(part: str) -> None:
    """Under another name until it is whole; what a killed build left there goes first."""
    unfinished = folder(part).with_name(f"{part}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    try:
        MAKERS[part](unfinished)
        unfinished.rename(folder(part))
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
