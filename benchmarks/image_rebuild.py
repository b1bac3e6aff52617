"""What build_image.py costs beside `docker build` of the same engine: a rebuild after one changed line, of a small image and of a long build."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from benchmarks.images import PROGRAMS, measured, ours, peers, places
from benchmarks.measuring import Bound, Comparison, Group, more, progress
from tests.components.images import find_links, mirror, new_docker, old_docker, parts
from tests.components.images.docker_daemon import Docker

MAX_MORE_S, MAX_RATIO = 0.5, 1.2
LONG_S, SHORTEST_S = 33.0, 30.0
SMALL = """FROM python:3.11-slim
COPY requirements.txt /app/
RUN python -m pip --version
COPY . /app
CMD ["python", "/app/train.py"]
"""
LONG = """FROM python:3.11-slim
COPY . /app
RUN for each in $(seq {times}); do python -m compileall -f /usr/lib/python3; done
"""
"""Work behind the changed layer, and a long log of it: the standard library is compiled again and again."""


def run(root: Path, folder: Path, repeats: int, *, is_long: bool) -> Iterator[Group]:
    """A group for each engine; the long build with the newest alone."""
    parts.build()
    with ExitStack() as stack:
        hub = stack.enter_context(mirror.mirror(stack.enter_context(find_links.served(parts.folder("small-torch")))))
        engines: dict[str, Docker] = {}
        if old_docker.version():
            engines[f"docker {old_docker.version()}"] = stack.enter_context(old_docker.old_docker(hub.address))
        if not parts.missing(["new-docker"]):  # it takes minutes to build: measured where it is there
            engines[f"docker {parts.versions()['new-docker']}"] = stack.enter_context(new_docker.new_docker(hub.address))
        for name, docker in list(engines.items())[-1 if is_long else 0 :]:
            (own := folder / name.replace(" ", "-")).mkdir()
            yield (_long if is_long else _small)(_Rebuild(root, own, docker), name, repeats)


def _small(rebuild: _Rebuild, engine: str, repeats: int) -> Group:
    (rebuild.project / "Dockerfile").write_text(SMALL)
    series, notes = measured({"build_image.py": rebuild.ours, "docker build": rebuild.peer}, repeats)
    mine, theirs = series.values()
    bound = Bound("beyond docker build, after one changed line", more(mine, theirs), MAX_MORE_S)
    return Group(f"rebuild of a small image, {engine}", [mine, theirs], notes=notes, bounds=[bound])


def _long(rebuild: _Rebuild, engine: str, repeats: int) -> Group:
    (rebuild.project / "Dockerfile").write_text(LONG.format(times=1))
    taken_s = min(rebuild.peer() for _ in range(4))  # the first one also pulls the base image
    times = math.ceil(LONG_S / taken_s)
    progress(f"  one compilation takes {taken_s:.1f} s; {times} of them are a build")
    (rebuild.project / "Dockerfile").write_text(LONG.format(times=times))
    series, notes = measured({"build_image.py": rebuild.ours, "docker build": rebuild.peer}, repeats)
    mine, theirs = series.values()
    comparison = Comparison("a rebuild of half a minute", mine, theirs, MAX_RATIO)
    if min(theirs.seconds) < SHORTEST_S:
        notes.append(f"a build took only {min(theirs.seconds):.0f} s: the machine was busier when its length was chosen")
    return Group(f"rebuild of a long build, {engine}", [mine, theirs], [comparison], notes)


class _Rebuild:
    """One project, in which a line is changed before each build."""

    def __init__(self, root: Path, folder: Path, docker: Docker) -> None:
        self.root, self.docker, self.project = root, docker, folder / "project"
        self.env = places(folder, **docker.environment())
        self.changes = itertools.count()
        self.project.mkdir()
        (self.project / "requirements.txt").write_text("numpy\n")
        for number in range(20):
            (self.project / f"module{number}.py").write_text("import os\n" * 100)

    def _change(self) -> None:
        (self.project / "train.py").write_text(f"CHANGE = {next(self.changes)}\n" + "print(CHANGE)\n" * 50)

    def ours(self) -> float:
        self._change()
        words = ("build", self.project, "--network", "host", "--image-name", "ours", "--image-tag", "bench")
        ran = ours(self.root / PROGRAMS / "build_image.py", *words, env=self.env)
        if len(ran.document["data"]["attempts"]) != 1:
            raise RuntimeError(f"it was not built at once: {ran.document['data']}")
        return ran.seconds

    def peer(self) -> float:
        self._change()
        words = [self.docker.program, "build", "--network=host", "--tag=peer:bench", self.project]
        return peers(words, env={**self.env, "DOCKER_BUILDKIT": "1"}, folder=self.project)
