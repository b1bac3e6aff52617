"""Problems of a job on this machine, found before anything is made."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from deploy_checks import grace, names_trainyard, notify, saving
from job_file.reading import JobFile
from trainyard_interpreter import project_python
from trainyard_job import IGNORED_ON_LOCAL, Job
from trainyard_shell import Check, clean

LITTLE_DISK_BYTES, NO_DISK_BYTES = 5 << 30, 200 << 20
# find_spec imports nothing but the parents of a dotted name, so only first names are asked for.
PROBE = "import importlib.util,json,sys;print(json.dumps({n:importlib.util.find_spec(n) is not None for n in sys.argv[1:]}))"


def interpreter(job_file: JobFile) -> Path:
    """The Python of a local job: `python:` of the job file, else the project's."""
    wanted = job_file.job.python
    if wanted == "auto":
        return Path(project_python(str(job_file.source), os.environ, sys.executable))
    if "/" not in wanted:
        return Path(shutil.which(wanted) or wanted)
    # not resolved: a virtual environment's python is a link, and works by where the link lies
    return Path(os.path.normpath(job_file.path.parent / os.path.expanduser(wanted)))


def local(job_file: JobFile, run_dir: Path) -> list[Check]:
    """The checks of target local, in the order in which they would bite."""
    return [
        *_python(job_file),
        _program(job_file),
        _script(job_file),
        saving(job_file),
        _processes(job_file),
        *_secrets(job_file),
        *notify(job_file.job),
        _folder(run_dir),
        _disk(run_dir),
        grace(run_dir, job_file.job.monitor.stop_grace_s),
    ]


def ignored(job_file: JobFile) -> list[Check]:
    default = Job(name=job_file.job.name, run=job_file.job.run)
    given = [key for key in IGNORED_ON_LOCAL if getattr(job_file.job, key) != getattr(default, key)]
    given += ["budget.max_usd"] if job_file.job.budget and job_file.job.budget.max_usd is not None else []
    return [Check("job.ignored", "skipped", f"not used on local: {', '.join(given)}")] if given else []


def _python(job_file: JobFile) -> list[Check]:
    python, fix = interpreter(job_file), "name another one under `python:` in the job file"
    launcher = job_file.command.launcher
    wanted = list(dict.fromkeys(["torch", launcher.package])) if launcher else []
    module = job_file.command.script.partition(".")[0] if job_file.command.is_module and job_file.command.script else None
    found = _find(python, job_file, [*wanted, "trainyard", *([module] if module else [])])
    if isinstance(found, str):
        return [Check("python", "fail", f"{python} does not run: {found}", fix=fix)]
    checks = [Check("python", "pass", str(python))]
    for name in wanted + ([module] if module else []):
        status = "pass" if found[name] else "fail"
        checks.append(Check(f"python.{name}", status, "there" if found[name] else f"{python} has no module {name}", fix=fix))
    return [*checks, _trainyard(job_file, python, found["trainyard"])]


def _trainyard(job_file: JobFile, python: Path, found: bool) -> Check:
    """Needed by scripts that name it; a script without it trains, and the platform sees neither steps nor checkpoints."""
    if found:
        return Check("python.trainyard", "pass", "there")
    needed = names_trainyard(job_file.source / (job_file.command.script or ""))
    summary = f"{python} has no module trainyard" + ("" if needed else "; the script does not name it")
    return Check(
        "python.trainyard", "fail" if needed else "warn", summary, fix=f"{python} -m pip install CHECKOUT_OF_TRAINYARD"
    )


def _find(python: Path, job_file: JobFile, modules: list[str]) -> dict[str, bool] | str:
    """Which modules that Python finds, or why it does not run."""
    try:
        done = subprocess.run(
            [str(python), "-c", PROBE, *modules],
            cwd=job_file.source,
            env={**os.environ, **job_file.job.env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        found = json.loads(done.stdout)
        return {name: bool(found[name]) for name in modules}
    except subprocess.CalledProcessError as error:
        return clean(error.stderr.strip().splitlines()[-1] if error.stderr.strip() else f"exit {error.returncode}", 200)
    except subprocess.TimeoutExpired:
        return "no answer within 30 s"
    except OSError as error:
        return (error.strerror or str(error)).lower()
    except (ValueError, KeyError, TypeError):
        return "it is not a Python interpreter"


def _program(job_file: JobFile) -> Check:
    """The first word, where it is not the job's own Python or a launcher of it."""
    word, fix = job_file.command.words[0], "no shell sees `run:`; a path in it is relative to `source:`"
    if "/" not in word and (job_file.command.launcher or re.fullmatch(r"python3?", word)):
        return Check("program", "pass", f"{word} of {interpreter(job_file)}")
    path = {**os.environ, **job_file.job.env}.get("PATH")
    found = str(job_file.source / word) if "/" in word else shutil.which(word, path=path)
    if found is None and os.path.isfile(job_file.source / word):
        fix = f"write `python {word}`" if word.endswith(".py") else f"write `./{word}`"
        return Check("program", "fail", f"{word} is a file in {job_file.source}, not a program in PATH", fix=fix)
    if found is None or not os.path.exists(found):
        return Check("program", "fail", f"there is no program {word}", fix=fix)
    if os.path.isdir(found):
        return Check("program", "fail", f"{word} is a folder, not a program", fix=fix)
    if not os.access(found, os.X_OK):
        return Check("program", "fail", f"{word} may not be executed", fix=f"chmod +x {word}, or: run: python {word}")
    return Check("program", "pass", found)


def _script(job_file: JobFile) -> Check:
    script, fix = job_file.command.script, "paths in `run:` are relative to `source:`"
    if script is not None and job_file.command.is_module:
        return Check("script", "skipped", f"the module {script}, not a file")
    if script is None:
        return Check("script", "skipped", f"not a file: {job_file.command.words[0]}")
    if os.path.isfile(job_file.source / script):
        return Check("script", "pass", script)
    return Check("script", "fail", f"no file {script} in {job_file.source}", fix=fix)


def _processes(job_file: JobFile) -> Check:
    procs, cores = job_file.procs, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if procs != "auto" and int(procs) > 2 * cores:
        return Check("processes", "warn", f"{procs} processes on {cores} cores")
    return Check("processes", "pass", f"{procs} on {cores} cores")


def _secrets(job_file: JobFile) -> list[Check]:
    return [_secret(name) for name in job_file.job.secrets]


def _secret(name: str) -> Check:
    if name in os.environ:
        return Check(f"secret.{name}", "pass", "in the environment")
    fix = f"export {name} before the call; on local it is taken from there"
    return Check(f"secret.{name}", "fail", f"{name} is not set", fix=fix)


def _folder(run_dir: Path) -> Check:
    existing = next(path for path in (run_dir, *run_dir.parents) if os.path.lexists(path))
    if os.path.isdir(existing) and os.access(existing, os.W_OK | os.X_OK):
        return Check("run-folder", "pass", str(run_dir))
    why = "may not be written" if os.path.isdir(existing) else "is a file"
    return Check("run-folder", "fail", f"{existing} {why}", fix="--state-dir DIR puts the run elsewhere")


def _disk(run_dir: Path) -> Check:
    existing = next(path for path in (run_dir, *run_dir.parents) if os.path.isdir(path))
    free = shutil.disk_usage(existing).free
    status = "fail" if free < NO_DISK_BYTES else "warn" if free < LITTLE_DISK_BYTES else "pass"
    return Check(
        "disk",
        status,
        f"{free / 2**30:.1f} GiB free for {run_dir}",
        fix=None if status == "pass" else "--state-dir DIR elsewhere",
    )
