"""A script of the project that the image cannot run: the line ends of Windows, no executable bit, or an interpreter that is not there."""

from __future__ import annotations

import os
import posixpath
import re
import stat
from dataclasses import replace
from itertools import islice

import trainyard_files
from attempts import edits
from attempts.causes import Cause, classified
from attempts.context_files import place
from build_recipe import Recipe
from dockerfiles.copy_sources import Source, context_sources
from dockerfiles.text import Instruction

MAX_SCRIPT_BYTES, MAX_SCRIPTS = 1 << 20, 200
NOT_THERE = re.compile(r"not found|[Nn]o such file|required file")


def scripts(recipe: Recipe, cause: Cause) -> list[str]:
    """The script that the log names, in the project; without a name all that have Windows line ends behind a `#!`."""
    files = dict(recipe.files)
    named = posixpath.basename(cause.said.get("file", ""))
    found = [
        name
        for source in context_sources(recipe.parsed)
        for name in _of(recipe, source)
        if name not in files and recipe.ignore.leaves_out(name) is None
    ]
    if named:
        return [name for name in dict.fromkeys(found) if posixpath.basename(name) == named]
    return [name for name in dict.fromkeys(found) if b"\r\n" in _read(recipe, name)]


def _of(recipe: Recipe, source: Source) -> list[str]:
    """Files that a COPY names, and scripts below a folder that it names."""
    top = recipe.folder / source.path
    if top.is_file():
        return [source.path]
    matched = recipe.folder.glob(source.path) if source.is_pattern and "**" not in source.path else top.rglob("*.sh")
    return [path.relative_to(recipe.folder).as_posix() for path in islice(matched, MAX_SCRIPTS) if path.is_file()]


def _read(recipe: Recipe, name: str) -> bytes:
    try:
        raw = trainyard_files.read_regular(recipe.folder / name, MAX_SCRIPT_BYTES)
    except (OSError, trainyard_files.Unusable):
        return b""
    return raw if raw.startswith(b"#!") or name.endswith(".sh") else b""


def explained(recipe: Recipe, cause: Cause) -> Cause | None:
    found = edits.instruction(recipe, cause.cut)
    if found is None or cause.hidden:
        return None
    if cause.kind in ("command", "missing-program", "no-file"):
        return _windows(recipe, cause, found[1])
    if cause.kind != "script" or cause.id == "bash":
        return None
    here = place(recipe, found[1])
    for name in scripts(recipe, cause):
        raw = _read(recipe, name)
        if b"\r\n" in raw:
            return _line_ends(cause, name, here)
        if not NOT_THERE.search(cause.line) and not os.stat(recipe.folder / name).st_mode & stat.S_IXUSR:
            fix = f"{name} is not executable: chmod +x {name} in the project (`git update-index --chmod=+x {name}`), COPY --chmod=755, or `RUN sh {name}`"
            return classified(cause, "script", what="a script is not executable", fix=fix, places=[name, here])
        if first := re.match(rb"#!\s*(\S+)", raw):
            fix = f"line 1 of {name} asks for {first[1].decode('ascii', 'replace')}, which the image may not have: install it, or `#!/bin/sh`"
            return classified(
                cause, "script", what="the interpreter of a script is not in the image", fix=fix, places=[f"{name}:1", here]
            )
    if NOT_THERE.search(cause.line):
        fix = "COPY it before that RUN, to the place where the command looks: relative paths begin at WORKDIR"
        return classified(cause, "no-file", fix=fix, places=[here])
    fix = "it lies in the image without its executable bit: COPY --chmod=755, or RUN chmod +x before it, or start it with its interpreter"
    return classified(cause, "script", what="a script is not executable", fix=fix, places=[here])


def _windows(recipe: Recipe, cause: Cause, run: Instruction) -> Cause | None:
    """A script with line ends of Windows that the RUN names: what it says then is anything, for `-e` is `-e\\r` in it."""
    for word in re.findall(r"[\w./-]+", run.value):
        named = replace(cause, said={"file": word})
        for name in scripts(recipe, named) if re.search(r"\w", word) else ():
            if b"\r\n" in _read(recipe, name):
                return replace(_line_ends(named, name, place(recipe, run)), remedies=("unix_line_ends",))
    return None


def _line_ends(cause: Cause, name: str, here: str) -> Cause:
    fix = f"{name} has the line ends of Windows, so every line of it ends in \\r, which belongs to its last word: sed -i 's/\\r$//' {name} and the other scripts, and `*.sh text eol=lf` in .gitattributes"
    what = "a script of the project has the line ends of Windows"
    return replace(classified(cause, "script", what=what, fix=fix, places=[f"{name}:1", here]), id="line-ends")


def unix_line_ends(recipe: Recipe, cause: Cause) -> tuple[str, Recipe] | None:
    """LF in the build's copy of all the scripts: what one of them calls comes from the same machine."""
    if not any(b"\r\n" in _read(recipe, name) for name in scripts(recipe, cause)):
        return None
    changed = {name: _read(recipe, name).replace(b"\r\n", b"\n") for name in scripts(recipe, replace(cause, said={}))}
    if not changed:
        return None
    files = tuple(sorted({**dict(recipe.files), **changed}.items()))
    return f"LF line ends in {', '.join(changed)}", replace(recipe, files=files)


def executable(recipe: Recipe, cause: Cause) -> tuple[str, Recipe] | None:
    """COPY --chmod would hold for all files of that COPY, so it is a step of its own."""
    found = edits.failed(recipe, cause.cut)
    file = cause.said.get("file", "")
    if found is None or not re.search(r"[Pp]ermission denied", cause.line) or not re.fullmatch(r"[\w./-]+", file):
        return None
    text = edits.before_as_root(recipe, cause.cut, [f"RUN chmod +x {file}"])
    return (
        (f"{file} is executable", replace(recipe, dockerfile=text))
        if text and f"RUN chmod +x {file}\n" not in recipe.dockerfile
        else None
    )
