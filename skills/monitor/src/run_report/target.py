"""Where a page goes: never over a file that is not one of ours."""

from __future__ import annotations

from pathlib import Path

import trainyard_shell as shell
from trainyard_files import replace_file

MARKER = '<meta name="generator" content="trainyard monitor">'


def report_target(usual: Path, output: str | None) -> Path:
    """Where the report goes; never over something that is no report of ours."""
    target = (Path(output) if output else usual).absolute()
    if target.is_dir():
        raise shell.SkillError("usage", f"{target} is a folder", hint=f"--output {target}/report.html")
    if not target.parent.is_dir():
        raise shell.SkillError("not-found", f"the folder {target.parent} does not exist", hint=f"mkdir -p {target.parent}")
    if target.exists():
        with target.open("rb") as file:
            if MARKER.encode() not in file.read(1024):
                raise shell.SkillError(
                    "conflict", f"{target} is not a report of this program; it stays", hint="another --output"
                )
    return target


def write_report(target: Path, page: str) -> str:
    try:
        replace_file(target, page.encode())
    except OSError as error:
        raise shell.cannot_write(target, error, "free space, or --output in a folder that you may write to") from error
    return str(target)
