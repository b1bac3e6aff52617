"""A file that a build does not find: which line of the ignore file leaves it out, or how the folder spells it; and both corrected in the copy."""

from __future__ import annotations

import difflib
import os
import posixpath
import re
from collections.abc import Iterable
from dataclasses import replace

import trainyard_shell as shell
from attempts import edits
from attempts.causes import Cause, classified
from attempts.lost_files import Lost, lost
from build_context import hashes, listing
from build_context.ignore import Ignore, Pattern, parse
from build_context.sensitive import by_name
from build_recipe import Recipe
from dockerfiles.copy_sources import context_sources
from dockerfiles.text import Instruction

MAX_ADDED_BYTES = 200 << 20
"""More is not put back into a context unasked: data and checkpoints are left out for a reason."""
PROJECT_FILES = ("pyproject.toml", "setup.py")


def explained(recipe: Recipe, cause: Cause) -> Cause | None:
    """For COPY that finds no file, and for a command that misses one of the project."""
    found = edits.instruction(recipe, cause.cut)
    if cause.kind == "missing-file":
        return _of_copy(recipe, cause, found[1]) if found else None
    if cause.kind not in ("no-file", "script") or cause.id == "line-ends" or found is None:
        return None
    return _of_run(recipe, cause, found[1])


def _of_copy(recipe: Recipe, cause: Cause, each: Instruction) -> Cause | None:
    if "from" in each.flags:
        return _of_stage(recipe, cause, each)
    named = [source for source in context_sources(recipe.parsed) if source.each == each]
    missing = [found for source in named if (found := lost(recipe, source))]
    return _told(recipe, cause, missing, each) if missing else None


def _of_stage(recipe: Recipe, cause: Cause, each: Instruction) -> Cause:
    """COPY --from: the paths that the stage writes are not known, those that its lines name are."""
    stage = recipe.parsed.stage(each.flags["from"])
    path = match[1] if (match := re.search(r'"(/[^"]*)": not found', cause.line)) else each.value.split()[0]
    named = {word: one.line for one, _ in stage.body for word in re.findall(r"/[\w./-]+", one.value)} if stage else {}
    near = difflib.get_close_matches(path, named, n=1, cutoff=0.7)
    meant = (
        f"did you mean {near[0]} (line {named[near[0]]})?"
        if near and near[0] != path
        else "look at the RUN that should make it"
    )
    fix = f"{each.flags['from']} holds no {path}: {meant}"
    return classified(
        cause, "missing-file", what="a stage does not hold what is copied out of it", fix=fix, places=[place(recipe, each)]
    )


def _told(recipe: Recipe, cause: Cause, missing: list[Lost], each: Instruction) -> Cause:
    here = place(recipe, each)
    first = missing[0]
    if first.why == "ignored":
        everywhere = _all_ignored(recipe) or missing
        return classified(
            cause,
            "missing-file",
            what="the ignore file leaves out what the Dockerfile copies",
            fix=ignored(recipe, everywhere),
            places=[*_lines(recipe, everywhere), here],
        )
    told = {
        "outside": f"{first.path} lies outside the build context, which COPY never leaves"
        + (
            f": the folder has {first.near}"
            if first.near
            else ": copy it into the folder, or build the folder above with --dockerfile"
        ),
        "spelled": f"there is no {first.path} in the folder, but {first.near}: write it so",
        "elsewhere": f"there is no {first.path} in the folder, but {first.near}: COPY takes paths from the top of the folder",
        "absent": f"there is no {first.path} in {recipe.folder.name}: put it there, or take it out of the {each.keyword}",
    }
    return classified(cause, "missing-file", fix=told[first.why], places=[here])


def ignored(recipe: Recipe, missing: Iterable[Lost]) -> str:
    """Which lines leave out which paths, and what to write."""
    by_line: dict[Pattern, list[str]] = {}
    for each in missing:
        if each.pattern is not None and each.path not in by_line.setdefault(each.pattern, []):
            by_line[each.pattern].append(each.path)
    source = recipe.ignore.source or ".dockerignore"
    told = []
    for pattern, paths in by_line.items():
        it = "it" if len(paths) == 1 else "them"
        left_out = f"{_names(paths)} {'is' if len(paths) == 1 else 'are'} in the folder, but line {pattern.line} of {source} ({_text(pattern)}) leaves {it} out"
        if any(by_name(path) for path in paths):
            told.append(
                f"{left_out}, as it should with a secret: RUN --mount=type=secret in the place of COPY, and --secret id=NAME,src=FILE"
            )
        else:
            told.append(f"{left_out}: add {_names([f'!{path}' for path in paths])} below that line")
    return "; ".join(told)


def _names(names: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1][:8]), names[-1]]))


def _text(pattern: Pattern) -> str:
    return f"{'!' if pattern.includes else ''}{pattern.text}"


def _lines(recipe: Recipe, missing: Iterable[Lost]) -> list[str]:
    patterns = dict.fromkeys(each.pattern for each in missing if each.pattern)
    return [f"{recipe.ignore.source}:{each.line}: {_text(each)}" for each in patterns]


def place(recipe: Recipe, each: Instruction) -> str:
    """`Dockerfile:6: COPY a b`, as the line stands there."""
    line = recipe.dockerfile.split("\n")[each.line - 1].strip()
    return shell.clean(f"{recipe.dockerfile_name}:{each.line}: {line}", 160)


def _all_ignored(recipe: Recipe) -> list[Lost]:
    found = (lost(recipe, source) for source in context_sources(recipe.parsed))
    return [each for each in found if each and each.why == "ignored"]


def _of_run(recipe: Recipe, cause: Cause, run: Instruction) -> Cause | None:
    """The file that a command misses lies in the project, and did not come into the image."""
    for name in _candidates(recipe, cause):
        if not os.path.lexists(recipe.folder / name):
            continue
        pattern = recipe.ignore.leaves_out(name)
        if pattern is not None:
            missing = [Lost(name, "ignored", pattern)]
            fix = ignored(recipe, missing)
            what = "the ignore file leaves out what a command of the build reads"
            return classified(cause, "missing-file", what=what, fix=fix, places=[*_lines(recipe, missing), place(recipe, run)])
        if cause.kind == "no-file" and not _copied_before(recipe, name, run):
            fix = f"{name} is in the folder, and nothing copies it before line {run.line}: COPY {name} ./ above that RUN"
            return classified(cause, "no-file", fix=fix, places=[place(recipe, run)])
    return None


def _candidates(recipe: Recipe, cause: Cause) -> list[str]:
    """The paths of the project that a file of the log may be."""
    if cause.id == "project":
        return list(PROJECT_FILES)
    asked = cause.said.get("file", "")
    name = posixpath.normpath(asked).lstrip("/") if asked else ""
    if not name or name.startswith(".."):
        return []
    parts = name.split("/")
    found = edits.instruction(recipe, cause.cut)
    work = recipe.parsed.workdir(*found).strip("/") if found else ""
    below = [name.removeprefix(f"{work}/")] if work and asked.startswith(f"/{work}/") else []
    return list(dict.fromkeys([*below, *("/".join(parts[start:]) for start in range(len(parts)))]))


def _copied_before(recipe: Recipe, name: str, run: Instruction) -> bool:
    before = [source for source in context_sources(recipe.parsed) if source.each.line <= run.line]
    return any(
        source.path == "." or source.is_pattern or name == source.path or name.startswith(f"{source.path}/")
        for source in before
    )


# --- what is tried ------------------------------------------------------------------------------------------------


def kept_in_context(recipe: Recipe, cause: Cause) -> tuple[str, Recipe] | None:
    """Exceptions at the end of the ignore file for all that the Dockerfile names and it leaves out, in the build's copy of it."""
    wanted = [each.path for each in _all_ignored(recipe)]
    wanted += [
        name
        for name in _candidates(recipe, cause)
        if cause.kind == "missing-file" and os.path.lexists(recipe.folder / name) and recipe.ignore.leaves_out(name)
    ]
    wanted = list(dict.fromkeys(wanted))
    if not wanted or recipe.ignore.source is None or any(re.search(r"[\n\r]", each) for each in wanted):
        return None
    text = recipe.ignore.text.rstrip("\n") + "\n" + "".join(f"!{_escaped(each)}\n" for each in wanted)
    kept = parse(text.encode("utf-8", "surrogateescape"), recipe.ignore.source)
    digest = _digest(recipe, kept)
    if digest is None:
        return None
    what = f"{recipe.ignore.source} keeps {_names(wanted)} in the context"
    return what, replace(recipe, ignore=kept, context_digest=digest)


def _escaped(path: str) -> str:
    return path if re.search(r"[*?]", path) else re.sub(r"([\[\]\\])", r"\\\1", path)


def _digest(recipe: Recipe, kept: Ignore) -> str | None:
    """Of the wider context; None where it would hold what looks like a secret, or very much more."""
    before = {each.path for each in listing.listed(recipe.folder, recipe.ignore, 1 << 62).entries}
    found = listing.listed(recipe.folder, kept, 1 << 62)
    added = [each for each in found.files if each.path not in before]
    if not added or sum(each.size for each in added) > MAX_ADDED_BYTES or any(by_name(each.path) for each in added):
        return None
    known = hashes.known(found)
    return None if any(known[each.path].secret for each in added) else hashes.digest(found, known)


def corrected_paths(recipe: Recipe, cause: Cause) -> tuple[str, Recipe] | None:
    """Sources of COPY and ADD as the folder writes them."""
    lines = recipe.dockerfile.split("\n")
    made = []
    for source in context_sources(recipe.parsed):
        found = lost(recipe, source)
        if found is None or found.near is None or found.why != "spelled":
            continue
        word = re.compile(rf"(?<![\w./-]){re.escape(source.asked)}(?![\w./-])")
        for number in range(source.each.line - 1, edits.last_line(source.each)):
            new = word.sub(found.near.replace("\\", r"\\"), lines[number], count=1)
            if new != lines[number]:
                lines[number] = new
                made.append(found.near)
                break
    if not made:
        return None
    return f"COPY takes {_names(made)}, as the folder has it", replace(recipe, dockerfile="\n".join(lines))


def copied_first(recipe: Recipe, cause: Cause) -> tuple[str, Recipe] | None:
    """The file that a command reads, copied before it, to where the command looks."""
    found, asked = edits.failed(recipe, cause.cut), cause.said.get("file", "")
    name = next((name for name in _candidates(recipe, cause) if (recipe.folder / name).is_file()), None)
    if cause.kind != "no-file" or found is None or name is None or not re.fullmatch(r"[\w./-]+", f"{name}{asked}"):
        return None
    if recipe.ignore.leaves_out(name) or _copied_before(recipe, name, found[1]):
        return None
    text = edits.before(recipe, cause.cut, [f"COPY {name} {asked}"])
    return (f"{name} is copied before that step", replace(recipe, dockerfile=text)) if text else None
