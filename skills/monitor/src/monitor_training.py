# /// script
# requires-python = ">=3.11"
# dependencies = [
#   "click>=8.1",
#   "kubernetes>=35,!=36.0.0",  # optional: for a run on a cluster, with the three below
#   "msgspec>=0.19",
#   "PyYAML>=6.0.2",  # optional
#   "rich>=13.7",
#   "urllib3>=2",  # optional
#   "websocket-client>=1.8",  # optional
# ]
# ///
"""Watch a training run: progress, health, a live view, a report with the goodput account, and the metrics of anybody's log.

RUN is the run folder (on a local target .trainyard/runs/NAME beside the job file), or the name of a run or job on a cluster. Nothing
in it is changed, except that `report` writes report.html.
"""

from __future__ import annotations

import trainyard_shell as shell

import click
from cluster_run import named
from cluster_run.named import Named
from log_formats.known import CHOICES
from run_view import listening
from run_view.listening import Listening


@shell.program("monitor")
def cli() -> None:
    """Watch a training run: progress, health, a live view, a report with the goodput account, and the metrics of anybody's log.

    RUN is the run folder: on a local target .trainyard/runs/NAME beside the job file. Else it is the name of a run or job on a
    cluster; --namespace, --context or --selector say so in any case. `metrics` and `report` also read a log file alone.
    """


STALL_FACTOR = click.option(
    "--stall-factor",
    type=click.FloatRange(min=1),
    default=10.0,
    show_default=True,
    help="Stalled after this many median step times without a step line.",
)
START_LIMIT = click.option(
    "--start-limit-s",
    type=click.FloatRange(min=0),
    default=600.0,
    show_default=True,
    help="A start without a step line fails after this many seconds.",
)


@cli.command(
    epilog=shell.examples(
        "monitor_training.py status .trainyard/runs/tiny-lm",
        "monitor_training.py status tiny-lm -n ml --json",
    )
)
@named.options
@STALL_FACTOR
def status(run: Named, stall_factor: float) -> shell.Result:
    """Progress, loss, speed, time left, last checkpoint, restarts, and the state held against the living processes."""
    from monitor_verbs import status_result

    return status_result(run, stall_factor)


@cli.command(
    epilog=shell.examples(
        "monitor_training.py health .trainyard/runs/tiny-lm",
        "monitor_training.py health .trainyard/runs/tiny-lm --stall-factor 30",
    )
)
@named.options
@STALL_FACTOR
@START_LIMIT
def health(run: Named, stall_factor: float, start_limit_s: float) -> shell.Result:
    """Is it fit? Exit 0: no check failed and none is unknown. Exit 1: not, or not known."""
    from monitor_verbs import health_result

    return health_result(run, stall_factor, start_limit_s)


@cli.command(
    epilog=shell.examples(
        "monitor_training.py progress .trainyard/runs/tiny-lm",
        "monitor_training.py progress .trainyard/runs/tiny-lm --json",
    )
)
@named.options
def progress(run: Named) -> shell.Result:
    """The last step of the newest attempt, from steps.jsonl or the end of its log. For programs: cheap, however long the run is."""
    from monitor_verbs import progress_result

    return progress_result(run)


@cli.command(
    epilog=shell.examples(
        "monitor_training.py watch .trainyard/runs/tiny-lm",
        "monitor_training.py watch .trainyard/runs/tiny-lm --interval 10 --timeout-s 3600 --json",
        "monitor_training.py watch .trainyard/runs/tiny-lm --webhook SLACK_URL --serve-metrics 9109",
    )
)
@named.options
@click.option("--interval", "interval_s", type=click.FloatRange(min=0.05), help="Seconds. Default: 2; on a cluster 10.")
@click.option("--once", is_flag=True, help="One look, then end.")
@click.option(
    "--timeout-s", type=click.FloatRange(min=0), help="Stop looking after this long. Default: 600 without a terminal."
)
@STALL_FACTOR
@START_LIMIT
@listening.options
def watch(
    run: Named,
    interval_s: float | None,
    once: bool,
    timeout_s: float | None,
    stall_factor: float,
    start_limit_s: float,
    listening: Listening,
) -> shell.Result:
    """A live view; without a terminal one JSON object a line. Ends when the run ends: exit 0 finished or stopped, else 1."""
    from monitor_verbs import watch_result

    return watch_result(run, interval_s, once, timeout_s, stall_factor, start_limit_s, listening)


@cli.command(
    epilog=shell.examples(
        "monitor_training.py report .trainyard/runs/tiny-lm",
        "monitor_training.py report .trainyard/runs/tiny-lm --output /tmp/tiny-lm.html",
        "monitor_training.py report train.log",
    )
)
@named.options
@click.option(
    "--output", type=click.Path(), help="Where to write. Default: RUN/report.html, LOG.report.html, ./NAME.report.html."
)
@click.option("--dry-run", is_flag=True, help="Compute everything, write nothing.")
@STALL_FACTOR
def report(run: Named, output: str | None, dry_run: bool, stall_factor: float) -> shell.Result:
    """One self-contained HTML file: plots, the run's time line, and where its wall time went."""
    from run_report.verb import report_result

    return report_result(run, output, dry_run, stall_factor)


@cli.command(
    epilog=shell.examples(
        "monitor_training.py metrics train.log --export metrics.csv",
        "kubectl logs job/train | monitor_training.py metrics - --limit 3",
        r"monitor_training.py metrics train.log --pattern 'at (?P<step>\d+), loss is (?P<loss>\S+)'",
    )
)
@named.options
@click.option(
    "--log-format", type=click.Choice(CHOICES), default="auto", show_default=True, help="Who wrote the log; auto finds out."
)
@click.option(
    "--pattern", help="A regular expression for a log in another format; its named groups are the metrics, see above."
)
@click.option("--limit", type=click.IntRange(min=0, max=10_000), default=10, show_default=True, help="Print the last points.")
@click.option("--export", type=click.Path(), help="Write all points to FILE.csv or FILE.json.")
@click.option("--dry-run", is_flag=True, help="Read everything, write nothing.")
@click.option("--yes", is_flag=True, help="Let --export replace a file that is not an export of this program.")
def metrics(
    run: Named, log_format: str, pattern: str | None, limit: int, export: str | None, dry_run: bool, yes: bool
) -> shell.Result:
    """Step, loss, throughput, learning rate, gradient norm and evaluations of anybody's log.

    RUN is a log file, - for stdin, a run folder or a run on a cluster (its steps.jsonl, else the logs of its attempts). The
    throughput keeps the unit that the log has; nothing is converted.

    Groups of --pattern: step, loss, eval_loss, lr, grad_norm, throughput, reward, epoch, total (steps), time.
    """
    from log_metrics.verb import metrics_result

    if pattern is not None and log_format != "auto":
        raise shell.SkillError("usage", "--pattern and --log-format exclude each other", hint="give one of them")
    return metrics_result(run, log_format, pattern, limit, export, dry_run, yes)


@cli.command(
    epilog=shell.examples(
        "monitor_training.py tensorboard .trainyard/runs/tiny-lm",
        "monitor_training.py tensorboard .trainyard/runs/tiny-lm --host user@trainbox --port 6007",
    )
)
@named.options
@click.option("--host", help="The machine that holds RUN, as ssh knows it, for the tunnel. Default: this machine's name.")
@click.option("--port", type=click.IntRange(1024, 65535), default=6006, show_default=True, help="On both ends of the tunnel.")
def tensorboard(run: Named, host: str | None, port: int) -> shell.Result:
    """The command that shows the run's TensorBoard folder, and the ssh tunnel to it. Starts nothing."""
    from monitor_tensorboard import tensorboard_result

    return tensorboard_result(run, host, port)


if __name__ == "__main__":
    cli()
