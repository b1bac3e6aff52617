"""A job file on disk -> a `JobFile` that is right in itself, or every finding of one reading together."""

from __future__ import annotations

import difflib
import json
import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

import trainyard_job
import trainyard_request
import trainyard_shell as shell
from job_file import targets
from job_file.command import Command, CommandError, parse
from trainyard_job import Job
from trainyard_request import Finding as Finding
from trainyard_request import convert, quantities, refusal, secrets_in

NAME_RULE = re.compile(r"[a-z](?:[-a-z0-9]{0,38}[a-z0-9])?")  # DNS-1035, at most 40 characters
MAX_ENV_CHARS = 100_000
"""Linux takes 128 KiB for one variable, and no object on a cluster holds more than a megabyte."""
ENGINE_VARIABLE = re.compile(
    r"(PET|TRAINYARD|TORCHELASTIC|TORCH_ELASTIC|GROUP|ROLE)_.*|((LOCAL|NODE)_)?(RANK|WORLD_SIZE)|MASTER_(ADDR|PORT)"
)


@dataclass(frozen=True)
class JobFile:
    """A job file that was read and is right in itself; whether it fits this machine is the plan's question."""

    path: Path
    job: Job
    command: Command
    source: Path

    @property
    def procs(self) -> str:
        """What the launcher is told: a plain command is one process."""
        return str(self.job.procs_per_node) if self.command.launcher else "1"


def read(path: Path, *, added: tuple[str, ...] = (), name: str | None = None) -> JobFile:
    """Raises SkillError: not-found, permission, usage (with one failed check for each finding).

    `added` goes after the command. `name`: of the run, where it is not the file's.
    """
    mapping = trainyard_request.read_mapping(path)
    if name is not None:
        mapping["name"] = name
    if added and isinstance(mapping.get("run"), str):
        mapping["run"] = f"{mapping['run'].rstrip()} {shlex.join(added)}"
    findings = _target(mapping.get("target", "local"))
    job = convert(mapping, Job, "$", findings)
    command = None
    if isinstance(mapping.get("run"), str):
        command = _command(mapping["run"], findings)
    if isinstance(job, Job):
        findings += _beyond_types(job, command, path)
    elif isinstance(mapping.get("name"), str):
        findings += _name(mapping["name"])
    findings += secrets_in(mapping)
    if findings or not isinstance(job, Job) or command is None:
        raise refusal(path, findings)
    return JobFile(path.absolute(), job, command, source_folder(path, job))


def read_name(path: Path) -> str:
    """Only the run's name: `status` and `stop` work while the rest of the file is being edited."""
    name = trainyard_request.read_mapping(path).get("name")
    findings = _name(name) if isinstance(name, str) else [Finding("$.name", "expected str")]
    if findings or not isinstance(name, str):
        raise refusal(path, findings)
    return name


def source_folder(path: Path, job: Job) -> Path:
    # os.path: a ~user who does not exist, a loop of links or a name too long for the disk are no errors here but no folder
    return Path(os.path.realpath(path.absolute().parent / os.path.expanduser(job.source)))


# --- what types cannot say ----------------------------------------------------------------------------------------


def _name(name: str) -> list[Finding]:
    if NAME_RULE.fullmatch(name):
        return []
    rule = "a-z, 0-9 and -, starting with a letter, not ending with -, at most 40 characters"
    return [Finding("$.name", f"{name!r} is not a valid name: {rule}")]


def _target(target: Any) -> list[Finding]:
    if not isinstance(target, str) or target in targets.names():  # what is not text the types refuse
        return []
    near = difflib.get_close_matches(target, targets.names(), n=1, cutoff=0.6)
    meant = f"; did you mean {near[0]}?" if near else ""
    return [Finding("$.target", f"{target!r} is not one of the known values: {', '.join(targets.names())}{meant}")]


def _command(line: str, findings: list[Finding]) -> Command | None:
    try:
        return parse(line)
    except CommandError as error:
        findings.append(Finding("$.run", str(error)))
        return None


def _beyond_types(job: Job, command: Command | None, path: Path) -> list[Finding]:
    findings = _name(job.name) + _variables(job) + _pattern(job.monitor.pattern)
    if job.budget is not None and job.budget.max_hours is None and job.budget.max_usd is None:
        findings.append(Finding("$.budget", "needs max_hours or max_usd"))
    if "\0" in job.source + job.python:
        return [*findings, Finding("$.source" if "\0" in job.source else "$.python", "holds a NUL character")]
    if not os.path.isdir(source_folder(path, job)):
        findings.append(Finding("$.source", f"no folder {source_folder(path, job)}"))
    if job.target in targets.names():
        findings += targets.place_class(job.target).findings(job, command)
    return findings + quantities(job)


def one_image(job: Job) -> list[Finding]:
    """For a place that ignores the image too: a mistake in it would only be found on the next cluster."""
    wrong = job.image and (job.image.uri is None) == (job.image.build is None)
    return [Finding("$.image", "needs either uri or build")] if wrong else []


def needs_launcher(job: Job, command: Command | None) -> list[Finding]:
    """For a place that starts a plain command as one process."""
    several = job.nodes > 1 or (job.procs_per_node != "auto" and job.procs_per_node > 1)
    if command is None or command.launcher or not several:
        return []
    launch = " or `accelerate launch`" if command.words[0] == "accelerate" else ""
    problem = f"starts with {command.words[0]!r}; more than one process needs torchrun{launch} as the first word"
    return [Finding("$.run", problem)]


def _pattern(pattern: str | None) -> list[Finding]:
    """The monitor has the last word on its groups; a run must not begin with one that cannot be read at all."""
    path = "$.monitor.pattern"
    try:
        groups = re.compile(pattern).groupindex if pattern is not None else {"loss": 1}
    except re.error as error:
        return [Finding(path, f"is not a regular expression: {error}")]
    return [] if {"loss", "eval_loss", "reward"} & set(groups) else [Finding(path, "names no loss; write (?P<loss>...)")]


def _variables(job: Job) -> list[Finding]:
    findings = []
    for section, variables in (("env", job.env), ("secrets", job.secrets)):
        for name in variables:
            path = f"$.{section}.{name}"
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
                findings.append(Finding(path, "is not a valid name of a variable"))
            elif ENGINE_VARIABLE.fullmatch(name):
                findings.append(Finding(path, "is set by the engine; leave it out"))
    if sum(len(name) + len(value) for name, value in job.env.items()) > MAX_ENV_CHARS:
        findings.append(
            Finding("$.env", f"holds more than {MAX_ENV_CHARS} characters; put them into a file that the script reads")
        )
    for name, value in job.env.items():
        if "\0" in value:
            findings.append(Finding(f"$.env.{name}", "holds a NUL character"))
        if name in job.secrets:
            findings.append(Finding(f"$.env.{name}", "stands under secrets too"))
    for name, place in job.secrets.items():
        if not re.fullmatch(r"[a-z0-9][-a-z0-9.]*/[-._a-zA-Z0-9]+", place):
            findings.append(Finding(f"$.secrets.{name}", "expected secret/key: the name of a Secret and a key in it"))
    return findings


def schema() -> dict[str, Any]:
    """JSON Schema of the job file, for editors."""
    document = msgspec.json.schema(trainyard_job.Job)
    document["$defs"]["Job"]["properties"]["target"] |= {"enum": targets.names()}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Trainyard job file", **document}


def write_schema(path: str, document: dict[str, Any]) -> None:
    try:
        Path(path).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise shell.cannot_write(path, error, "free space, or another --output") from error
