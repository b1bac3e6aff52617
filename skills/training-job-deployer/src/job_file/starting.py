"""`init`: a job file for a project that has none, each line with its reason; and what its script lacks to survive a failure."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

import trainyard_calls
import trainyard_shell as shell
from job_file import project_look, reading
from job_file.pages import OWN_PROJECT
from job_file.project_look import DATA_OPTION, FRAMEWORKS, RESUMES, SAVES, STEP_LINE, Project, Script
from trainyard_interpreter import project_python

LINES = f"the lines for its framework are in {OWN_PROJECT}"
CLUSTER = """image: {{build: auto}}                 # or {{uri: "REPOSITORY@sha256:DIGEST"}}: holds the script, torch and the package trainyard
nodes: 2
cluster: {{namespace: trainyard}}      # where the team's Roles are; the context is the current one
resources: {{instance_type: {type}}}  # `capacity` of manage_cluster.py lists what there is
checkpoints: {{storage: {{class: fsx, size: 1200Gi}}, rolling_steps: 250, keep_rolling: 3, keep_epochs: 1}}  # its class and size: references/own-project.md
"""


@dataclass(frozen=True)
class Started:
    text: str
    script: str
    launcher: str
    python: str
    lacks: list[str]
    others: list[str]
    """Scripts that might be meant instead."""


def start(folder: Path, target: str, script: str | None) -> Started:
    """Raises SkillError: not-found (no script that trains), usage (the one that was named is not there)."""
    project = project_look.look(folder)
    chosen = _chosen(project, script)
    launcher, reason = _launcher(project, chosen) if target == "local" else ("torchrun", "one process per GPU on every node")
    python = project_python(str(folder), os.environ, sys.executable)
    lacks = _lacks(project, chosen)
    text = _text(project, chosen, launcher, reason, python, target, lacks)
    others = [each.path for each in project.scripts if each is not chosen][:5]
    return Started(text, chosen.path, launcher, python, lacks, others)


def write(path: Path, started: Started) -> None:
    """Raises SkillError conflict where a file is there: it is somebody's."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(started.text)
    except FileExistsError as error:
        raise shell.SkillError(
            "conflict", f"{path} is there already", hint=f"deploy.py plan {path}, or --output ANOTHER"
        ) from error
    except OSError as error:
        raise shell.cannot_write(path, error, "another --output") from error
    try:
        reading.read(path)
    except shell.SkillError:
        path.unlink()
        raise


def _chosen(project: Project, name: str | None) -> Script:
    if name is None:
        if project.scripts:
            return project.scripts[0]
        message = f"no Python file in {project.folder} looks like one that trains (a backward pass, a Trainer, fit)"
        raise shell.SkillError("not-found", message, hint="deploy.py init FOLDER --script path/to/train.py")
    known = next((each for each in project.scripts if each.path == name.removeprefix("./")), None)
    if known:
        return known
    if not (project.folder / name).is_file():
        found = ", ".join(each.path for each in project.scripts[:5]) or "none"
        raise shell.SkillError(
            "usage", f"--script: no file {name} in {project.folder}", hint=f"those that look like training: {found}"
        )
    return Script(name.removeprefix("./"), 0, (project.folder / name).read_bytes()[: project_look.READ_BYTES])


def _launcher(project: Project, script: Script) -> tuple[str, str]:
    told = next((line for line in project.commands if project_look.script_in(line) == script.path), "")
    for name in ("accelerate launch", "deepspeed", "torchrun"):
        if name in told:
            return name, "the project's own documents start it so"
    if script.has(FRAMEWORKS["accelerate"]):
        return "accelerate launch", "the script imports accelerate"
    if script.has(FRAMEWORKS["deepspeed"]):
        return "deepspeed", "the script imports deepspeed"
    if script.is_distributed or script.has(FRAMEWORKS["transformers"]) or script.has(FRAMEWORKS["lightning"]):
        return "torchrun", "one process per accelerator"
    return "python", "the script speaks of no process group, so it is one process"


def _lacks(project: Project, script: Script) -> list[str]:
    """What is missing for a run that survives failures, as far as the text of the script and of what trains beside it shows."""
    beside = [each for each in project.scripts if Path(each.path).parent == Path(script.path).parent]
    text = b"\n".join([script.text, *(each.text for each in beside)])
    if b"trainyard" in text:
        return []
    found = []
    if not SAVES.search(text):
        found.append(f"{script.path} saves nothing: a failure costs the whole run; {LINES}")
    elif not RESUMES.search(text):
        found.append(f"{script.path} saves, and nothing in it resumes: a restart begins at step 0; {LINES}")
    else:
        found.append(f"{script.path} may resume by itself; what it saves is not verified, and a stop saves nothing: {LINES}")
    if not STEP_LINE.search(text):
        found.append(
            f"{script.path}: it prints no line with a step or a loss that progress could be read from; see monitor.pattern"
        )
    return found


# --- the text ----------------------------------------------------------------------------------------------------


def _text(project: Project, script: Script, launcher: str, reason: str, python: str, target: str, lacks: list[str]) -> str:
    told = next((line for line in project.commands if project_look.script_in(line) == script.path), None)
    options = project_look.options_of(told, script.path) if told else []
    run = shlex.join([*launcher.split(), script.path, *options])
    rows = [
        ("name", _name(project.folder), "of the run: its folder, its pods"),
        ("target", target, "local, eks or hyperpod"),
        ("source", ".", "the project's folder; paths in `run` are relative to it"),
        ("run", run, f"{launcher}: {reason}" + ("; options as in the project's documents" if options else "")),
    ]
    if target == "local":
        rows.append(("python", "auto", f"now {python}"))
    if launcher != "python":
        rows.append(
            ("procs_per_node", "auto", "processes per machine, such as 2; auto: one per accelerator, or one if there is none")
        )
    lines = [(f"{key}: {_yaml(value)}", about) for key, value, about in rows]
    if target == "local":
        lines.append(("checkpoints: {rolling_steps: 100, keep_rolling: 3}", "a save every 100 steps; the newest three stay"))
        lines.append(("monitor: {max_restarts: 3}", "starts after a failure, before it is given up"))
    width = min(max(len(line) for line, _ in lines), 60)
    body = [f"{line:{width}}  # {about}" for line, about in lines]
    if target != "local":
        body += CLUSTER.format(type="ml.p5.48xlarge" if target == "hyperpod" else "p5.48xlarge").splitlines()
    if data := sorted({match.decode() for match in DATA_OPTION.findall(script.text)}):
        body.append(f"# data: the script takes {', '.join(data[:4])}; put what it needs into `run`")
    body += [f"# missing: {each}" for each in lacks]
    program = trainyard_calls.command or "deploy.py"
    head = f"# Every key: `{program} schema`. Made by `{program} init` from what {script.path} looks like: read it once."
    return "\n".join([head, *body]) + "\n"


def _yaml(value: str) -> str:
    plain = re.fullmatch(r"[A-Za-z./][\w./ =:@,+-]*", value) and ": " not in value and not value.endswith(":")
    return value if plain else json.dumps(value)


def _name(folder: Path) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", folder.resolve().name.lower()).strip("-")
    return (name if name[:1].isalpha() else f"run-{name}".strip("-"))[:40].rstrip("-")
