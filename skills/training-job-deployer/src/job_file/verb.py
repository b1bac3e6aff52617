"""`init`, without its options."""

from __future__ import annotations

import os
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
    next_ = [] if dry_run else [f"deploy.py plan {shown}", f"deploy.py run {shown}"]
    return shell.Result(data, changed=[] if dry_run else [f"wrote {path}"], next=next_)
