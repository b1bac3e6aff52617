"""Trees, ignore files over them, and what a real BuildKit and our own walk make of them. Many cases go through one build."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.skills.image_builder.image_call import module

IGNORE: Any = module("build_context.ignore")
LISTING: Any = module("build_context.listing")
SHELL: Any = module("trainyard_shell")
NAMES = (
    "a",
    "b",
    "ab",
    "abc",
    ".env",
    "x.py",
    "y.pyc",
    "foo[1].txt",
    "d e",
    "Dockerfile",
    "node_modules",
    "é",
    "$x",
    "a^b",
    "]",
)
PIECES = (
    "a",
    "b",
    "ab",
    "*",
    "?",
    "**",
    "*.py",
    "*.pyc",
    "a*",
    "*b",
    "[ab]",
    "[^a]",
    "[a-c]*",
    r"foo\[1\].txt",
    "foo[1].txt",
    r"\a",
    ".env",
    "d e",
)
MORE = (
    "x.*",
    "..",
    ".",
    "node_modules",
    "**b",
    "a**",
    "?b?",
    "é",
    "$x",
    "a^b",
    "a.c",
    "*[1]*",
    r"[\]]",
    "[^b]*",
    "ab*c",
    "***",
    "a?",
    "[[:alpha:]]*",
    r"\d",
)


@dataclass(frozen=True)
class Case:
    """A folder with an ignore file in it."""

    root: Path
    ignore: bytes


def tree(root: Path, names: Sequence[str]) -> Path:
    """`x/` is a folder, `x -> y` a link, anything else a file that holds its name."""
    root.mkdir(parents=True, exist_ok=True)
    for name in names:
        path, link, target = name.partition(" -> ")
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if link:
            place.symlink_to(target)
        elif name.endswith("/"):
            place.mkdir(exist_ok=True)
        else:
            place.write_text(name)
    return root


def random_names(draw: random.Random) -> list[str]:
    found: dict[str, bool] = {}
    for _ in range(draw.randint(3, 25)):
        parts = [draw.choice(NAMES) for _ in range(draw.randint(1, 4))]
        folders = ["/".join(parts[: index + 1]) for index in range(len(parts) - 1)]
        whole = "/".join(parts)
        if whole in found or any(found.get(each) is False for each in folders):
            continue
        for each in folders:
            found[each] = True
        found[whole] = draw.random() < 0.15
    return [name + "/" * is_folder for name, is_folder in found.items()]


def random_ignore(draw: random.Random) -> bytes:
    """One to eight lines. Some are comments, some have spaces, slashes and `!` where people write them."""
    lines = []
    for _ in range(draw.randint(1, 8)):
        line = "/".join(draw.choice(PIECES if draw.random() < 0.7 else MORE) for _ in range(draw.randint(1, 3)))
        line = draw.choice(("",) * 8 + ("/", "./", "//", "../")) + line + draw.choice(("",) * 6 + ("/", "/.", "//", " ", "\t"))
        line = draw.choice(("",) * 6 + ("!", "! ", " !", " ")) + line + draw.choice(("",) * 20 + (" # x",))
        lines.append(draw.choice(("",) * 20 + ("#",)) + line)
    end = draw.choice(("\n", "\n", "\r\n"))
    start = "\ufeff" if draw.random() < 0.1 else ""
    return (start + end.join(lines) + draw.choice(("", end))).encode()


def ours(case: Case) -> list[str] | None:
    """The paths of the context, folders with a slash; None where the ignore file is refused."""
    try:
        found = LISTING.listed(case.root, IGNORE.read(case.root, None))
    except SHELL.SkillError:
        return None
    return sorted(each.path + "/" * (each.kind == "folder") for each in found.entries)


def buildkits(cases: Sequence[Case], place: Path, call: Callable[..., subprocess.CompletedProcess[str]]) -> list[list[str]]:
    """The same from BuildKit: each folder is a named context of one build, whose `.dockerignore` it reads as it reads any other."""
    build, out = place / "build", place / "out"
    build.mkdir(parents=True)
    copies = [f"COPY --from=c{index} . /c{index}/\n" for index in range(len(cases))]
    (build / "Dockerfile").write_text("FROM scratch\n" + "".join(copies))
    words = ["build", "--progress=plain", "--frontend=dockerfile.v0", f"--local=context={build}", f"--local=dockerfile={build}"]
    for index, case in enumerate(cases):
        words += [f"--local=c{index}={case.root}", f"--opt=context:c{index}=local:c{index}"]
    done = call(*words, f"--output=type=local,dest={out}")
    assert done.returncode == 0, done.stderr[-3000:]
    return [listed(out / f"c{index}") for index in range(len(cases))]


def listed(root: Path) -> list[str]:
    found = []
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            path = Path(folder) / name
            found.append(str(path.relative_to(root)) + "/" * (path.is_dir() and not path.is_symlink()))
    return sorted(found)


def random_cases(count: int, place: Path, seed: int) -> list[Case]:
    """Those whose ignore file is valid; the same seed gives the same."""
    draw = random.Random(seed)
    found: list[Case] = []
    while len(found) < count:
        ignore = random_ignore(draw)
        try:
            IGNORE.parse(ignore, "drawn")
        except SHELL.SkillError:
            continue
        case = Case(tree(place / f"case{len(found)}", random_names(draw)), ignore)
        (case.root / ".dockerignore").write_bytes(ignore)
        found.append(case)
    return found
