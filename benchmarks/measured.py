"""Each group of benchmarks by its name: what it needs, and its runs. What cannot be measured here is left out with the reason."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import disk
from benchmarks.measuring import Group, progress

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Asked:
    """One group as it was asked for. `folder` is its own, and is removed behind it."""

    name: str
    options: argparse.Namespace
    folder: Path
    repeats: int

    @property
    def sizes(self) -> tuple[str, ...]:
        return ("small", "2g") if self.options.size == "both" else (self.options.size,)

    def inside(self, name: object) -> Path:
        (own := self.folder / str(name)).mkdir()
        return own

    def lacks(self, reason: str | None) -> bool:
        if reason:
            progress(f"{self.name} is left out: {reason}")
        return bool(reason)


def measured(name: str, options: argparse.Namespace, folder: Path, repeats: int) -> Iterator[Group]:
    """Its groups, as each is there. Raises disk.NoRoom."""
    run = GROUPS.get(name, _image if name.startswith("image-") else _state)
    with tempfile.TemporaryDirectory(dir=folder) as own:
        yield from run(Asked(name, options, Path(own), repeats))


def _starting(asked: Asked) -> Iterator[Group]:
    from benchmarks import starting

    progress(asked.name)
    yield starting.run(ROOT, asked.folder, asked.repeats)


def _telling(asked: Asked) -> Iterator[Group]:
    from benchmarks import telling

    progress(asked.name)
    yield telling.run(ROOT, asked.folder, asked.repeats)


def _reading(asked: Asked) -> Iterator[Group]:
    from benchmarks import reading

    if asked.lacks(_not_built(reading.missing())):
        return
    nodes = asked.options.nodes
    for count in [nodes] if nodes else [reading.NODES[size] for size in asked.sizes]:
        progress(asked.name)
        yield reading.run(ROOT, asked.inside(count), count, asked.repeats)


def _status(asked: Asked) -> Iterator[Group]:
    from benchmarks import job_status, reading

    if not asked.lacks(_not_built(reading.missing())):
        progress(asked.name)
        yield job_status.run(ROOT, asked.folder, job_status.PODS, asked.repeats)


def _doctor(asked: Asked) -> Iterator[Group]:
    from benchmarks import doctor_speed

    pods = asked.options.pods
    for count in [pods] if pods else [doctor_speed.PODS[size] for size in asked.sizes]:
        progress(asked.name)
        yield from doctor_speed.run(ROOT, asked.inside(count), count, asked.repeats)


def _stacks(asked: Asked) -> Iterator[Group]:
    from benchmarks import stack_reading

    progress(asked.name)
    yield stack_reading.run(ROOT, asked.folder, asked.repeats)


def _answers(asked: Asked) -> Iterator[Group]:
    from benchmarks import answers, reading

    absent = ", ".join(answers.missing())
    if not asked.lacks(_not_built(reading.missing()) or (f"absent: {absent}" if absent else None)):
        progress(asked.name)
        yield answers.run(ROOT, asked.folder)


def _image(asked: Asked) -> Iterator[Group]:
    from benchmarks import images

    if not asked.lacks(images.reason_against(asked.name)):
        progress(asked.name)
        yield from images.run(asked.name, ROOT, asked.folder, asked.repeats)


def _state(asked: Asked) -> Iterator[Group]:
    """save, async, restore and ranks: of a state of each size."""
    from benchmarks import holding, loading, ranks, saving, subject

    for size in asked.sizes:
        disk.check_room(asked.folder, subject.SIZES[size].nbytes)
        progress(f"{asked.name}, {size}")
        with tempfile.TemporaryDirectory(dir=asked.folder) as own:
            if asked.name == "ranks":
                yield ranks.run(size, Path(own), asked.repeats)
                continue
            built = subject.build(subject.SIZES[size])
            run = {"save": saving.run, "async": holding.run, "restore": loading.run}[asked.name]
            group = run(built, Path(own), asked.repeats)
        group.title += f", {built.nbytes / 1e6:,.0f} MB in {len(built.tensors())} tensors"
        yield group


def _not_built(absent: list[str]) -> str | None:
    return f"not built: {', '.join(absent)}; python -m tests.components.cluster up builds them" if absent else None


GROUPS: dict[str, Callable[[Asked], Iterator[Group]]] = {
    "help": _starting,
    "telling": _telling,
    "reading": _reading,
    "status": _status,
    "doctor": _doctor,
    "stacks": _stacks,
    "answers": _answers,
}
