"""Problems of a job that are the same wherever it runs: missing skills, nothing that saves, a grace that is too short."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import deploy_siblings
from deploy_stage import Stage
from job_file import source_files
from job_file.pages import OWN_PROJECT
from job_file.reading import JobFile
from trainyard_files import Unusable, open_regular, parse, tail
from trainyard_job import Job
from trainyard_shell import Check

SAVE_SHARE = 0.8
"""Of the time between SIGTERM and SIGKILL; the rest is torchrun's, for ending its workers."""
MAX_SCRIPT_BYTES, EVENTS_TAIL_BYTES = 1 << 20, 4 << 20


def skills(stages: tuple[Stage, ...]) -> list[Check]:
    """One check for each skill that the stages need."""
    checks = []
    for skill, script in dict.fromkeys((stage.skill, stage.script) for stage in stages):
        there = deploy_siblings.is_there(skill, script)
        fix = f"put the folder {skill} into {deploy_siblings.SKILLS_FOLDER}; ./install.sh in a checkout links all"
        summary = "there" if there else f"the skill {skill} is missing"
        checks.append(Check(f"skill.{skill}", "pass" if there else "fail", summary, fix=None if there else fix))
    return checks


def saving(job_file: JobFile) -> Check:
    """Whether the program names the runtime at all: without it nothing is saved that a restart could go on from."""
    name, source = "restart.point", job_file.source
    script = source / (job_file.command.script or "")
    if not script.is_file() and not (job_file.command.is_module and source.is_dir()):
        return Check(name, "skipped", "the program is not a file of this project: whether it saves is not known")
    if names_trainyard(script) or any(names_trainyard(path) for path in source_files.files(source) if path.suffix == ".py"):
        rolling = job_file.job.checkpoints.rolling_steps
        return Check(name, "pass", f"the program names trainyard; unless it says otherwise it saves every {rolling} steps")
    summary = f"no program file in {source} names trainyard: nothing is saved, and a restart begins at step 0"
    fix = f"the lines to add are in {OWN_PROJECT}"
    return Check(name, "warn", f"{summary} unless the script resumes by itself", fix=fix)


def names_trainyard(script: Path) -> bool:
    try:
        with open_regular(script) as file:
            return b"trainyard" in file.read(MAX_SCRIPT_BYTES)
    except (OSError, Unusable):
        return False


def grace(run_dir: Path, stop_grace_s: float) -> Check:
    """An agreed stop saves within its share of the grace; the last save that was measured tells whether it fits."""
    share_s = SAVE_SHARE * stop_grace_s
    seconds = _last_save_s(run_dir / "events.jsonl")
    if seconds is None:
        return Check(
            "stop.grace",
            "skipped",
            f"no save has been measured yet; a stop has {stop_grace_s:.0f} s, of which {share_s:.0f} s are for saving",
        )
    status = "pass" if seconds < share_s / 2 else "warn"
    return Check(
        "stop.grace",
        status,
        f"the last save took {seconds:.1f} s; a stop has {stop_grace_s:.0f} s, of which {share_s:.0f} s are for saving",
        fix=None if status == "pass" else "a larger monitor.stop_grace_s in the job file",
    )


def _last_save_s(events: Path) -> float | None:
    try:
        lines = tail(events, EVENTS_TAIL_BYTES).split(b"\n")[:-1]
        last = next((line for line in reversed(lines) if b'"committed"' in line), None)
        return float(parse(last)["seconds"]) if last else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def notify(job: Job) -> list[Check]:
    """Whether who is to be called can be: nothing waits for it, so it is a warning."""
    asked, checks = job.notify, list[Check]()
    if asked and asked.webhook and asked.webhook not in os.environ:
        fix = f"export {asked.webhook} with the URL before the call"
        checks.append(Check("notify.webhook", "warn", f"{asked.webhook} is not set: no notification would be sent", fix=fix))
    if asked and asked.command and shutil.which(asked.command[0]) is None:
        word = asked.command[0]
        checks.append(
            Check("notify.command", "warn", f"there is no program {word}: no notification would be sent", fix="notify.command")
        )
    return checks
