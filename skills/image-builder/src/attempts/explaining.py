"""The verb `explain`: a log that somebody has, from whichever builder, read as the log of an attempt is."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import build_source
import trainyard_files
import trainyard_shell as shell
from attempts import diagnosis
from build_context import ignore
from build_recipe import Recipe
from dockerfiles.stages import parse
from dockerfiles.text import NotADockerfile

MAX_LOG_BYTES = 8 << 20
"""The end of a longer file is read: what stopped the build stands there."""
COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
STAMP = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]{8,20}(?:Z |[+-]\d\d:?\d\d \S{1,256} )")
"""Before each line of GitHub Actions and of `aws logs tail`, which names the stream too."""


def explained(log: str, project: str | None, dockerfile: str | None) -> shell.Result:
    """Raises SkillError: usage for an empty or endless log, a folder or a Dockerfile that is not there; not-found, permission."""
    raw, whole = _read(log)
    lines = lines_of(raw)
    if not any(line.strip() for line in lines):
        raise shell.SkillError("usage", "the log is empty", hint="explain LOG, or explain - with the log on stdin")
    cause = diagnosis.read(_recipe(project, dockerfile) if project else None, lines)
    known = cause.kind != "command"
    told = cause.told if known else f"no line of this log is known as a cause: {cause.line}"
    check = shell.Check(
        f"build.{cause.kind}",
        "warn" if known else "unknown",
        shell.clean(told, 600),
        shell.clean("\n".join(cause.evidence), 1500),
        cause.fix,
    )
    more = [] if project or not known else ["explain LOG --project FOLDER: the same with the lines of that project's files"]
    return shell.Result(cause.row, [check], next=more, truncated=not whole)


def _read(log: str) -> tuple[bytes, bool]:
    """At most MAX_LOG_BYTES, and whether that is all."""
    if log == "-":
        if sys.stdin.isatty():
            shell.progress("paste the log, then Ctrl-D")
        raw = sys.stdin.buffer.read(MAX_LOG_BYTES + 1)
        if len(raw) > MAX_LOG_BYTES:
            raise shell.SkillError("usage", "stdin is longer than 8 MiB", hint="its end: `tail -c 8M LOG`, or the file itself")
        return raw, True
    try:
        raw = trainyard_files.tail(Path(log), MAX_LOG_BYTES)
        return raw, Path(log).stat().st_size <= len(raw)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise shell.SkillError("not-found", f"there is no file {shell.clean(log, 200)}", hint="- reads stdin") from error
    except trainyard_files.Unusable as error:
        raise shell.SkillError("usage", shell.clean(str(error), 300), hint="a file, or - for stdin") from error
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise shell.SkillError("permission", f"{shell.clean(log, 200)} cannot be read: {why}", hint="a file, or -") from error


def lines_of(raw: bytes) -> list[str]:
    """Without colours and the times before each line; PowerShell writes UTF-16."""
    text = raw.decode("utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8", "replace")
    return [STAMP.sub("", COLOURS.sub("", line), count=1) for line in re.split(r"\r?\n|\r", text)]


def _recipe(project: str, dockerfile: str | None) -> Recipe | None:
    """The project as a build would take it, without reading its files; None where it has no Dockerfile."""
    folder = build_source.opened(project)
    name = build_source.dockerfile_of(folder, dockerfile)
    if name is None:
        return None
    text = build_source.text_of(folder, name)
    left_out = ignore.read(folder.path, folder.path / name)
    try:
        parse(text, name, {})
    except NotADockerfile as error:
        message = f"{shell.clean(name, 200)} does not parse: {shell.clean(str(error), 300)}"
        raise shell.SkillError("usage", message, hint="without --project the log alone is read") from error
    return Recipe(folder.path, "", text, name, False, left_out)
