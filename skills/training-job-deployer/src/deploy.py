# /// script
# requires-python = ">=3.11"
# dependencies = ["click>=8.1", "msgspec>=0.19", "PyYAML>=6.0.2"]
# ///
"""Run a training job from one job file: plan, submit, watch, report; then status, why, logs, stop, resume.

Each stage is a program of a sibling skill, called with an argument list; its one JSON document is read and kept in run.json,
so that the same command goes on where it was killed and never starts a second job. Runs lie in .trainyard/runs/NAME
beside the job file.
"""

from __future__ import annotations

import trainyard_shell as shell

import sys
from typing import TYPE_CHECKING, Any

import click
from deploy_options import TIMEOUT, WEEK_S, on_a_job, on_a_run, on_newest, watching

if TYPE_CHECKING:
    from deployment import Ref


@shell.program("training-job-deployer")
def cli() -> None:
    """Run a training job from one job file: plan, submit, watch, report; then status, why, logs, stop, resume.

    RUN is a job file, the name of a run, or a run folder. Runs lie in .trainyard/runs/NAME beside the job file. `status`, `why`,
    `watch`, `logs` and `report` take the run that was started last where RUN is left out.
    """


@cli.command(epilog=shell.examples("deploy.py init", "deploy.py init ../my-project --target eks --output job-eks.yaml"))
@click.argument("folder", default=".", type=click.Path(exists=True, file_okay=False))
@click.option("--target", default="local", show_default=True, help="Where it will run: local, eks or hyperpod.")
@click.option(
    "--script", metavar="FILE", help="The training script, relative to FOLDER. Default: the file that looks most like one."
)
@click.option("--output", metavar="FILE", default="job.yaml", show_default=True, help="In FOLDER.")
@click.option("--dry-run", is_flag=True, help="Print the text and write nothing.")
def init(folder: str, target: str, script: str | None, output: str, dry_run: bool) -> shell.Result:
    """Write a job file for a project that has none: script, launcher, Python and options as the project's own files tell them.

    `lacks` names what the script needs to go on after a failure. Nothing of the project is run, and no file is replaced.
    """
    from job_file.verb import init_result

    return init_result(folder, target, script, output, dry_run)


@cli.command(epilog=shell.examples("deploy.py plan job.yaml", "deploy.py plan job.yaml --format table"))
@on_a_job(claims=False)
def plan(ref: Ref) -> shell.Result:
    """What `run` would do: stages, what each writes, cost, and problems found beforehand. Makes nothing."""
    import deploy_agree
    import deploy_plan

    deployment = deploy_plan.load(ref)
    current = deploy_plan.run_or_preview(deployment)
    checks = deploy_plan.problems(deployment, current, strict=False) + deploy_agree.changed_since(deployment)
    next_ = [deploy_plan.next_call(deployment, checks)]
    return shell.Result(data=deploy_plan.describe(deployment, current), checks=checks, next=next_)


@cli.command(
    "run",
    epilog=shell.examples(
        "deploy.py run job.yaml", "deploy.py run job.yaml --fresh --detach", "deploy.py run job.yaml -- --lr 3e-4"
    ),
)
@on_a_job(claims=True)
@watching
@click.option("--fresh", is_flag=True, help="A new run id; the old run is kept as runs/NAME@RUN_ID. Refused while it lives.")
@click.option(
    "--yes",
    is_flag=True,
    help="Agree to the plan of a target that costs money or changes a cluster (else exit 6); local needs none.",
)
def run_verb(ref: Ref, dry_run: bool, **wish: Any) -> shell.Result:
    """Run the job, or go on with it, and watch to its end. Exit 0 only when the job finished. Ctrl-C leaves the job running.

    Arguments after -- make a separate run, such as NAME-2: the job with these arguments added to its command.
    """
    return _run_or_resume(ref, dry_run, **wish)


@cli.command(
    epilog=shell.examples(
        "deploy.py resume job.yaml --detach",
        "deploy.py resume job.yaml --accept-changes --yes",
        "deploy.py resume job.yaml --from-step 400",
    )
)
@on_a_run
@watching
@click.option(
    "--from-step", type=click.IntRange(min=0), metavar="N", help="From this checkpoint; newer ones are set aside and kept."
)
@click.option("--accept-changes", is_flag=True, help="With the job file as it is now: a new image, more steps.")
@click.option("--yes", is_flag=True, help="With --accept-changes on a cluster: agree to the plan (else exit 6).")
def resume(ref: Ref, dry_run: bool, accept_changes: bool, yes: bool, **wish: Any) -> shell.Result:
    """Go on with a run that was stopped, failed or was lost: same run id, newest checkpoint, source files as they are now."""
    agreed = yes or not accept_changes
    return _run_or_resume(ref, dry_run, resume=True, accept_changes=accept_changes, yes=agreed, **wish)


def _run_or_resume(ref: Ref, dry_run: bool, **wish: Any) -> shell.Result:
    import deploy_agree
    import deploy_plan
    import deploy_preview
    import deploy_run

    deployment = deploy_plan.load(ref)
    try:
        if dry_run:
            return deploy_preview.preview(deployment, **{"resume": False, **wish})
        return deploy_run.run(deployment, deploy_run.Wish(**wish))
    except deploy_agree.PlanFailed as answer:
        return answer.result


@cli.command(epilog=shell.examples("deploy.py status job.yaml", "deploy.py status tiny-lm --watch"))
@on_newest
@click.option("--watch", "follows", is_flag=True, help="Keep it on the screen to the end of the run: the same as `watch`.")
def status(ref: Ref, follows: bool) -> shell.Result:
    """How the run is: the runner's state, the monitor's progress and checks, the stages. `health` is the worst check, `concerns` those that do not pass."""
    if follows:
        from healing import loop

        return loop.watch(ref, loop.wish(WEEK_S))
    import deploy_views

    return deploy_views.status(ref)


@cli.command(epilog=shell.examples("deploy.py why job.yaml", "deploy.py why tiny-lm --attempt 2"))
@on_newest
@click.option("--attempt", type=click.IntRange(min=0), help="Why this start of the launcher ended. Default: the newest.")
def why(ref: Ref, attempt: int | None) -> shell.Result:
    """Why the run failed, hangs or restarts: the one root cause, whose it is, the lines that prove it, what a restart would bring.

    Exit 0: it answered; `cause` is none where nothing is wrong, unknown where nothing says why.
    """
    from healing.why import why as why_verb

    return why_verb(ref, attempt)


@cli.command(epilog=shell.examples("deploy.py watch job.yaml", "deploy.py watch job.yaml --restart --max-restarts 20"))
@on_newest
@TIMEOUT
@click.option("--restart", is_flag=True, help="After a failure ask `why`, and start the run again where that can help.")
@click.option(
    "--max-restarts",
    type=click.IntRange(1, 1000),
    default=10,
    show_default=True,
    help="Restarts in all; those that the launcher makes by itself do not count.",
)
@click.option(
    "--backoff-s",
    type=click.FloatRange(0, 86400),
    default=30.0,
    show_default=True,
    help="Before the first restart; doubled after each that gained no step, up to half an hour.",
)
@click.option("--yes", is_flag=True, help="With --restart on HyperPod: have a node with a fault replaced (else only planned).")
def watch(ref: Ref, timeout_s: float, restart: bool, max_restarts: int, backoff_s: float, yes: bool) -> shell.Result:
    """Watch to the end. Exit 0 only when the job finished. Ctrl-C leaves the job running.

    With --restart a run that failed goes on from its newest checkpoint, unless a restart cannot help: exit 1, with the reason and
    what to do. Never after `stop`.
    """
    import deploy_agree
    from healing import loop

    try:
        return loop.watch(ref, loop.wish(timeout_s, restart, max_restarts, backoff_s, yes))
    except deploy_agree.PlanFailed as answer:
        return answer.result


@cli.command(epilog=shell.examples("deploy.py logs job.yaml --lines 50", "deploy.py logs tiny-lm --follow"))
@on_newest
@click.option("--follow", is_flag=True, help="One JSON object a line until the job ends.")
@click.option("--lines", type=click.IntRange(min=1), help="How many of the last lines.")
@click.option("--attempt", type=click.IntRange(min=0), help="On local: of this start of the launcher. Default: the newest.")
@click.option("--rank", type=click.IntRange(min=0), help="On a cluster: of this node's pod. Default: all.")
@click.option("--previous", is_flag=True, help="On a cluster: of the containers before their last restart.")
def logs(ref: Ref, **options: Any) -> shell.Result:
    """The job's output."""
    import deploy_views

    return deploy_views.logs(ref, options)


@cli.command(epilog=shell.examples("deploy.py stop job.yaml", "deploy.py stop tiny-lm --dry-run"))
@on_a_run
@click.option("--now", is_flag=True, help="On local: SIGKILL without time to save.")
@click.option("--dry-run", is_flag=True, help="Say what would be stopped.")
def stop(ref: Ref, now: bool, dry_run: bool) -> shell.Result:
    """End the job: SIGTERM, time to save, SIGKILL. Keeps and names the checkpoints; on a cluster the job's object goes, the volume stays."""
    import deploy_views

    return deploy_views.stop(ref, now=now, dry_run=dry_run)


@cli.command(epilog=shell.examples("deploy.py report job.yaml", "deploy.py report tiny-lm --output tiny-lm.html"))
@on_newest
@click.option("--output", metavar="FILE", help="Where to write. Default: report.html in the run folder.")
@click.option("--dry-run", is_flag=True, help="Compute it, write nothing.")
def report(ref: Ref, output: str | None, dry_run: bool) -> shell.Result:
    """One HTML file: plots, time line, and where the wall time went."""
    import deploy_views

    return deploy_views.report(ref, output, dry_run=dry_run)


@cli.command(epilog=shell.examples("deploy.py compare tiny-lm tiny-lm-2", "deploy.py compare a.yaml b.yaml --output ab.html"))
@click.argument("runs", metavar="RUN RUN", nargs=-1)
@click.option("--state-dir", metavar="DIR", help="Where runs/NAME lies. Default: .trainyard beside the job file.")
@click.option("--output", metavar="FILE", help="Where to write. Default: compare.html here.")
@click.option("--dry-run", is_flag=True, help="Compute it, write nothing.")
def compare(runs: tuple[str, ...], state_dir: str | None, output: str | None, dry_run: bool) -> shell.Result:
    """Two to six runs in the same charts: one HTML file, their figures, and what their commands do not share.

    Of a run on a cluster only what was fetched when it ended is read.
    """
    import deploy_views
    from deploy_ref import resolve

    return deploy_views.compare([resolve(run, state_dir) for run in runs], output, dry_run=dry_run)


@cli.command("list", epilog=shell.examples("deploy.py list", "deploy.py list job.yaml --limit 10"))
@click.argument("where", metavar="[JOB_FILE|FOLDER]", required=False)
@click.option(
    "--state-dir", metavar="DIR", help="Look in DIR/runs. Default: .trainyard beside the job file, else here or above."
)
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="Rows at most.")
def list_verb(where: str | None, state_dir: str | None, limit: int) -> shell.Result:
    """The runs of a folder, newest first: state, step, loss, when it was started and how long it took. Those set aside by --fresh are there too."""
    from deploy_list import list_runs
    from deploy_ref import runs_folder

    return list_runs(runs_folder(where, state_dir), limit)


@cli.command(epilog=shell.examples("deploy.py schema", "deploy.py schema --output job.schema.json"))
@click.option("--output", metavar="FILE", type=click.Path(dir_okay=False), help="Write the schema alone: a file for an editor.")
def schema(output: str | None) -> shell.Result:
    """Every key of the job file, its type, default and meaning: a list on a terminal, else JSON Schema."""
    from job_file import reading

    document = reading.schema()
    if output is None and shell.wants_table(sys.argv[1:]):
        from job_file import keys

        return shell.Result(data={"keys": keys.rows(document)})
    if output is None:
        return shell.Result(data=document)
    reading.write_schema(output, document)
    return shell.Result(data={"path": output}, changed=[output])


if __name__ == "__main__":
    cli()
