"""A next command as the user can type it: by the command `trainyard` where it was called by that, else by the program's own path.

Programs name each other without their folder (`manage_checkpoints.py latest RUN`). Copied with trainyard_shell.py by `make kit`; edit it
in skills/kit/ only. Standard library only.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from typing import Any

command = os.environ.pop("TRAINYARD_COMMAND", "")
"""Set by install/trainyard. Programs that this one calls, and jobs, do not inherit it: their lines are rewritten here."""
WORDS = {
    "deploy.py": "",
    "run_local.py": "local",
    "manage_cluster.py": "cluster",
    "manage_pytorchjob.py": "jobs",
    "manage_ray.py": "ray",
    "manage_checkpoints.py": "checkpoints",
    "manage_volumes.py": "volumes",
    "pod_checkpoints.py": "pods",
    "monitor_training.py": "monitor",
    "diagnose_training.py": "monitor",
    "build_image.py": "images",
    "conflict_analyzer.py": "images",
    "base_image_selector.py": "images",
    "push_image.py": "images",
    "test_image.py run": "images test",
    "test_image.py clean": "images clean",
    "build_image_codebuild.py": "images codebuild",
    "test_image_codebuild.py": "images codebuild-test",
    "manage_hyperpod.py": "hyperpod",
}
CALL = re.compile(
    rf"(?<![\w./-])(?:python3? )?(?:[\w./~+@-]*/)?({'|'.join(sorted(map(re.escape, WORDS), key=len, reverse=True))})(?= |$)"
)
SKILLS = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def as_typed(text: str) -> str:
    """Of a line of `next`, of a hint or a fix, every call of a program."""
    return CALL.sub(_by_command if command else _by_path, text)


def typed(document: dict[str, Any]) -> dict[str, Any]:
    """The document with its commands as the user can type them: `next`, the hint of an error, the fixes of checks."""
    made = {**document, "checks": [{**each, "fix": each["fix"] and as_typed(each["fix"])} for each in document["checks"]]}
    if "next" in document:
        made["next"] = [as_typed(line) for line in document["next"]]
    if "error" in document:
        made["error"] = {**document["error"], "hint": as_typed(document["error"]["hint"])}
    return made


def _by_command(match: re.Match[str]) -> str:
    return f"{command} {WORDS[match[1]]}".rstrip()


def _by_path(match: re.Match[str]) -> str:
    name, _, verb = match[1].partition(" ")
    if "/" in match[0]:
        return match[0]
    for skill in sorted(os.listdir(SKILLS)):
        path = os.path.join(SKILLS, skill, "src", name)
        if os.path.isfile(path):
            shortest = min((os.path.relpath(path), path), key=len)
            return " ".join(filter(None, [_python(), shlex.quote(shortest), verb]))
    return match[0]


def _python() -> str:
    """The skills find one that has their packages: any that is new enough will do."""
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        if os.access(os.path.join(folder, "python3"), os.X_OK):
            return "python3"
    return shlex.quote(sys.executable)
