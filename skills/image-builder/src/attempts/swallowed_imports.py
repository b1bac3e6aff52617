"""A setup.py that catches its own ImportError and says in words of its own what is missing: "PyTorch was not found, install it first"."""

from __future__ import annotations

import re
from dataclasses import replace

import trainyard_shell as shell
from attempts.causes import Cause
from attempts.isolated_builds import building
from build_recipe import Recipe

NAME = r"(?P<{}>[Pp]y[Tt]orch|[Tt]orch|[Nn]um[Pp]y|[Cc]ython|[Pp]ybind11)\b"
WORDS = re.compile(
    rf"\b{NAME.format('one')}.{{0,60}}?\b(?:not (?:be )?(?:found|installed|imported|available|detected)|is required|(?:must|needs? to|has to) be installed|is missing)"
    rf"|\b(?:[Ii]nstall|[Nn]eeds?|[Rr]equires?)\b.{{0,30}}?\b{NAME.format('two')}.{{0,60}}?\b(?:first|beforehand|before|to (?:be )?(?:build|built|compile))"
)
BEHIND = 60
"""Lines of a package's output that are looked at behind pip's own line."""


def explained(recipe: Recipe, cause: Cause) -> Cause | None:
    """The same as an import that fails: what is known of those holds for it."""
    if cause.kind != "package-build":
        return None
    lines = cause.cut.lines
    at = next((index for index, line in enumerate(lines) if line.strip()[:400] == cause.line), 0)
    for line in lines[at : at + BEHIND]:
        if match := WORDS.search(line):
            module = {"pytorch": "torch"}.get(name := (match["one"] or match["two"]).lower(), name)
            told = replace(
                cause, kind="missing-module", said={**cause.said, "module": module}, line=shell.clean(line.strip(), 400)
            )
            return told if building(told) else None
    return None
