# /// script
# requires-python = ">=3.11"
# dependencies = [
#   "click>=8.1",
#   "msgspec>=0.19",  # optional: submit --request
#   "PyYAML>=6.0.2",  # optional: submit --request
# ]
# ///
"""Run a training job on this machine: start it, watch it, restart it when it dies, stop it without leftovers."""

from __future__ import annotations

import trainyard_shell as shell

import os
import secrets
import sys
from pathlib import Path
from typing import Any

import click
from trainyard_seconds import Seconds, SecondsOrAuto

RUNS = Path(".trainyard") / "runs"


@shell.program("local-runner")
def cli() -> None:
    """Run a training job on this machine: start, watch, restart, stop. The run lives in one folder, RUN_DIR.

    A supervisor of its own keeps the job going after this program has returned.
    """


@cli.command(
    epilog=shell.examples(
        "run_local.py submit --run-dir runs/tiny --procs 2 -- torchrun training/train.py --steps 400",
        'run_local.py submit --run-dir runs/hello -- python -c "print(42)"',
        "run_local.py submit --run-dir runs/tiny --procs 2 --resume -- torchrun training/train.py --steps 400",
        "run_local.py submit --run-dir runs/tiny --resume --accept-changes -- torchrun training/train.py --steps 800",
    )
)
@click.option("--run-dir", required=True, help="Folder of this run; made if it is not there.")
@click.option("--request", metavar="FILE", help="A request: the job file's keys; - is stdin. Options count before it.")
@click.option("--run-id", help="16 hex digits.  [default: the folder's run, else a new one]")
@click.option("--name", help="Name of the run.  [default: the folder's name]")
@click.option("--workdir", default=".", show_default=True, help="Working folder of the job.")
@click.option("--python", help="Interpreter of the job.  [default: WORKDIR/.venv, else the one that runs this]")
@click.option("--procs", default="1", show_default=True, help="Processes (ranks), or auto: one a GPU.")
@click.option("--max-restarts", default=3, show_default=True, type=click.IntRange(0, 1000), help="For the whole run.")
@click.option("--stop-grace-s", default=60.0, show_default=True, type=Seconds(1, 86400), help="Time to save.")
@click.option("--backoff-s", default=1.0, show_default=True, type=Seconds(0, 60), help="Delay after two early deaths; doubles.")
@click.option("--hang", default="restart", show_default=True, type=click.Choice(["restart", "report"]), help="What then.")
@click.option("--hang-after-s", default="auto", show_default=True, type=SecondsOrAuto(1, 1e7), help="Without a step.")
@click.option(
    "--max-hours", type=Seconds(0, 1e6, min_open=True), metavar="HOURS", help="Of running, over all starts; then it is stopped."
)
@click.option("--env", multiple=True, metavar="K=V", help="Variable for the job; may be repeated.")
@click.option("--checkpoints", help="Checkpoint folder.  [default: RUN_DIR/checkpoints]")
@click.option("--resume", is_flag=True, help="Start a stopped, failed or lost run again.")
@click.option("--accept-changes", is_flag=True, help="With --resume: as this call says; also a finished run.")
@click.option("--dry-run", is_flag=True, help="Say what would be started; start nothing.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def submit(
    run_dir: str,
    request: str | None,
    resume: bool,
    accept_changes: bool,
    dry_run: bool,
    command: tuple[str, ...],
    **given: Any,
) -> shell.Result:
    """Start a run in the background and return.

    COMMAND, which may come from --request, follows `--`. Its first word `torchrun` stands for the launcher, `python` for --python; anything else is
    started as it is, as one process. No shell is involved.
    """
    import local_checks as checks
    import local_submit
    from local_folder import RunFolder
    from local_spec import Spec

    checks.need_linux()
    if request is not None:
        from local_request import with_request

        given, command = with_request(request, given, command)
    if not command:
        raise shell.SkillError("usage", "missing: COMMAND", hint="-- torchrun train.py, or --request with `run`")
    folder = RunFolder(Path(checks.not_a_file(run_dir, "--run-dir")))
    folder_of_job = checks.existing_folder(given["workdir"], "--workdir")
    known, procs = local_submit.known(folder), given["procs"]
    if procs != "auto" and not (procs.isdigit() and int(procs)):
        raise shell.SkillError("usage", f"procs_per_node (--procs) {procs!r} is neither a number nor auto", hint="--procs 2")
    spec = Spec(
        run_id=checks.run_id(given["run_id"] or known.get("run_id") or secrets.token_hex(8)),
        name=checks.name(given["name"] or folder.path.name),
        workdir=folder_of_job,
        command=list(command),
        python=checks.python(given["python"] or known.get("python"), folder_of_job, sys.executable),
        procs=None if procs == "auto" else int(procs),
        checkpoints=checks.not_a_file(given["checkpoints"] or str(folder.path / "checkpoints"), "--checkpoints"),
        env=checks.variables(given["env"]),
        **{name: given[name] for name in ("max_restarts", "stop_grace_s", "backoff_s", "hang", "hang_after_s", "max_hours")},
    )
    checks.command(spec, os.environ)
    if accept_changes and not resume:
        raise shell.SkillError("usage", "--accept-changes is for a run that goes on", hint="--resume --accept-changes")
    if dry_run:
        return shell.Result(data=local_submit.plan(folder, spec, resume=resume, accept_changes=accept_changes))
    answer = local_submit.submit(folder, spec, resume=resume, accept_changes=accept_changes)
    verbs = ["logs"] if answer.data["state"] == "finished" else ["status", "wait", "logs", "stop"]
    return shell.Result(data=answer.data, changed=answer.changed, next=[f"run_local.py {v} {folder.path}" for v in verbs])


@cli.command(epilog=shell.examples("run_local.py status runs/tiny", "run_local.py status runs/tiny --format table"))
@click.argument("run_dir")
def status(run_dir: str) -> shell.Result:
    """State, attempt, restarts, pids of the ranks, exit code and reason. Exit 0 whatever the state is."""
    from local_status import open_run, record_checks, refuse_unreadable, resume_call, view

    folder = open_run(run_dir)
    seen = view(folder)
    refuse_unreadable(folder, seen)
    looks = {"orphaned": [f"run_local.py stop {folder.path}"], "failed": [f"run_local.py logs {folder.path}"]}
    again = [resume_call(folder)] if seen["state"] in ("orphaned", "lost", "failed", "stopped") else []
    if seen["copy_of"]:
        again = [f"run_local.py status {seen['copy_of']}"]
    return shell.Result(data=seen, checks=record_checks(folder, seen), next=looks.get(seen["state"], []) + again)


@cli.command(
    epilog=shell.examples("run_local.py logs runs/tiny --lines 20", "run_local.py logs runs/tiny --follow --timeout 600")
)
@click.argument("run_dir")
@click.option("--attempt", type=click.IntRange(0), help="Number of the start.  [default: the newest]")
@click.option("--lines", default=100, show_default=True, type=click.IntRange(1, 2000), help="At most so many, the last.")
@click.option("--follow", is_flag=True, help="Go on until the run ends, one JSON object a line.")
@click.option("--timeout", default=86400.0, show_default=True, type=Seconds(0, 1e9), help="Seconds to follow.")
def logs(run_dir: str, attempt: int | None, lines: int, follow: bool, timeout: float) -> shell.Result:
    """What the job printed, stdout and stderr together."""
    import signal

    import local_logs
    from local_status import open_run, view

    folder = open_run(run_dir)
    attempts = folder.attempts()
    if attempt is not None and attempt not in attempts:
        there = f"there are {', '.join(map(str, attempts))}" if attempts else "none has started yet"
        raise shell.SkillError("not-found", f"no log of attempt {attempt}", hint=there)
    if follow:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `logs --follow | head` ends quietly
        count = local_logs.follow(folder, attempt=attempt, lines=lines, timeout_s=timeout)
        return shell.Result(data={"run_dir": str(folder.path), "state": view(folder)["state"], "lines": count})
    if not attempts:
        return shell.Result(data={"run_dir": str(folder.path), "attempt": None, "log": None, "lines": []})
    shown = attempts[-1] if attempt is None else attempt
    text, more = local_logs.last_lines(folder.log(shown), lines)
    return shell.Result(data={"attempt": shown, "log": str(folder.log(shown)), "lines": text}, truncated=more)


@cli.command(epilog=shell.examples("run_local.py wait runs/tiny", "run_local.py wait runs/tiny --timeout 60"))
@click.argument("run_dir")
@click.option("--timeout", default=3600.0, show_default=True, type=Seconds(0, 1e9), help="Seconds.")
def wait(run_dir: str, timeout: float) -> shell.Result:
    """Until the run has ended. Exit 0: finished; 1: failed, stopped or lost; 7: still going."""
    from local_status import open_run, resume_call
    from local_status import wait as wait_for

    folder = open_run(run_dir)
    seen = wait_for(folder, timeout)
    good = seen["state"] == "finished"
    check = shell.Check(
        id="run.finished",
        status="pass" if good else "fail",
        summary=f"{seen['state']}: {seen['reason']}",
        evidence=seen["log"],
        fix=None if good else f"run_local.py logs {folder.path}",
    )
    return shell.Result(data=seen, checks=[check], next=[] if good else [resume_call(folder)])


@cli.command(epilog=shell.examples("run_local.py stop runs/tiny", "run_local.py stop runs/tiny --now"))
@click.argument("run_dir")
@click.option("--now", is_flag=True, help="SIGKILL without grace: nothing is saved.")
@click.option("--dry-run", is_flag=True, help="Say what would be ended; end nothing.")
def stop(run_dir: str, now: bool, dry_run: bool) -> shell.Result:
    """End the run and every process of it: SIGTERM, the grace of submit, SIGKILL. Checkpoints stay."""
    import local_stop
    from local_status import open_run, resume_call

    folder = open_run(run_dir)
    if dry_run:
        return shell.Result(data={"run_dir": str(folder.path), "would": local_stop.plan(folder, now)})
    seen, changed = local_stop.stop(folder, now)
    return shell.Result(data=seen, changed=changed, next=[resume_call(folder)] if seen["state"] == "stopped" else [])


@cli.command(name="list", epilog=shell.examples("run_local.py list .", "run_local.py list .trainyard/runs --limit 5"))
@click.argument("folder", default=".")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 1000), help="Rows, the newest first.")
def list_runs(folder: str, limit: int) -> shell.Result:
    """The runs in FOLDER, or in FOLDER/.trainyard/runs."""
    from local_checks import existing_folder
    from local_folder import RunFolder
    from local_status import view

    root = Path(existing_folder(folder, "FOLDER"))
    root = root / RUNS if (root / RUNS).is_dir() else root
    found = [path.parent for path in root.glob("*/runner-spec.json")]
    found.sort(key=lambda path: (path / "runner-spec.json").stat().st_mtime, reverse=True)
    columns = ("name", "state", "attempt", "restarts", "run_id", "run_dir")
    views = [view(RunFolder(path)) for path in found[:limit]]
    rows = [{column: seen[column] for column in columns} for seen in views]
    return shell.Result(data={"folder": str(root), "total": len(found), "runs": rows}, truncated=len(found) > limit)


if __name__ == "__main__":
    cli()
