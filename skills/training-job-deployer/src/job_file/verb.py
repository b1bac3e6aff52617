"""`init`, without its options."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import trainyard_shell as shell
from job_file import targets
from job_file.starting import start, write


def init_result(folder: str, target: str, script: str | None, output: str, dry_run: bool) -> shell.Result:
    if target not in targets.names():
        raise shell.SkillError(
            "usage", f"--target: {target} is not one of {', '.join(targets.names())}", hint="deploy.py init --help"
        )
    place = Path(folder).absolute()
    started = start(place, target, script)
    path = place / output
    if not dry_run:
        write(path, started)
    shown = min((os.path.relpath(path), str(path)), key=len)
    data = {
        "job_file": str(path),
        "script": started.script,
        "launcher": started.launcher,
        "python": started.python,
        "lacks": started.lacks,
        "other_scripts": started.others,
        "text": started.text.splitlines(),
    }
    checks = [_torch(started.python)] if target == "local" else []
    next_ = [] if dry_run else [f"deploy.py plan {shown}", f"deploy.py run {shown}"]
    return shell.Result(data, changed=[] if dry_run else [f"wrote {path}"], checks=checks, next=next_, ok=True)


def _torch(python: str) -> shell.Check:
    """Looked for and not imported, which takes seconds."""
    words = [python, "-c", "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is None)"]
    try:
        found = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=30).returncode == 0
    except (OSError, subprocess.SubprocessError):
        found = False
    fix = "activate the project's environment and run this again, or name its interpreter under `python:`"
    told = f"{python} has {'' if found else 'no '}torch"
    return shell.Check("python.torch", "pass" if found else "warn", told, fix=None if found else fix)
