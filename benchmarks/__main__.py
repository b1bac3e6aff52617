"""Measure Trainyard beside its peers and print ratios: python -m benchmarks --only save --size small"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

from benchmarks import disk, report
from benchmarks.measured import ROOT, measured
from benchmarks.measuring import Group, progress

IMAGES = {"image-source": 5, "image-check": 15, "image-rebuild": 9, "image-long": 3, "image-skip": 7}
"""`--only images` is all of them."""
REPEATS = {
    "save": 7,
    "async": 3,
    "restore": 5,
    "ranks": 5,
    "telling": 5,
    "help": 25,
    "reading": 3,
    "status": 5,
    "doctor": 3,
    "answers": 1,
    "stacks": 5,
    **IMAGES,
}
GROUPS = tuple(REPEATS)


def main() -> int:
    """Exit code 0 when everything was measured, whether or not goals were met; 2 when something cannot be measured here."""
    options = _options()
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    warnings.filterwarnings("ignore", message="torch.distributed is disabled")
    options.dir.mkdir(parents=True, exist_ok=True)
    kind = disk.file_system(options.dir)
    if kind in disk.MEMORY_FILE_SYSTEMS:
        progress(f"note: {options.dir} is {kind}, memory and not a disk; choose another folder with --dir")
    about = report.machine(kind)
    command = shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]])
    groups: list[Group] = []
    try:
        for group in _measured(options):  # told and kept as soon as it is there: the whole takes a while
            groups.append(group)
            print(report.group_as_text(group), end="\n\n", flush=True)
            for output in options.output:
                report.write(output, report.as_document(about, command, options.note, groups), groups)
    except disk.NoRoom as error:
        progress(f"error: {error}")
        return 2
    print(report.summary(groups))
    return 0


def _measured(options: argparse.Namespace) -> Iterator[Group]:
    """One group after the other, each in a folder that is removed behind it."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.dir) as folder:
        for name in options.only:
            yield from measured(name, options, Path(folder), options.repeat or REPEATS[name])


def _options() -> argparse.Namespace:
    defaults = ", ".join(f"{count} for {name}" for name, count in REPEATS.items())
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only", type=_groups, default=list(GROUPS), help=f"comma-separated, of {', '.join(GROUPS)}; or images"
    )
    parser.add_argument("--size", choices=["small", "2g", "both"], default="both", help="of the state (default: both)")
    parser.add_argument("--nodes", type=int, help="of the cluster that `reading` looks at (default: 100 small, 2000 2g)")
    parser.add_argument("--pods", type=int, help="whose logs `doctor` reads, 10 MB each (default: 8 small, 256 2g)")
    parser.add_argument("--repeat", type=int, help=f"rounds that count (default: {defaults})")
    parser.add_argument("--dir", type=Path, default=ROOT / ".trainyard", help="folder on the disk to measure")
    parser.add_argument("--output", type=Path, action="append", default=[], help="also write here: .json, or .md; repeatable")
    parser.add_argument("--note", default="", help="a sentence to keep with the result")
    options = parser.parse_args()
    if options.repeat is not None and options.repeat < 1:
        parser.error("--repeat must be at least 1")
    return options


def _groups(text: str) -> list[str]:
    names = [each for name in text.split(",") for each in (IMAGES if name == "images" else [name])]
    unknown = sorted(set(names) - set(GROUPS))
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(GROUPS)}")
    return [name for name in GROUPS if name in names]


if __name__ == "__main__":
    sys.exit(main())
