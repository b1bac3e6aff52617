# /// script
# requires-python = ">=3.11"
# dependencies = ["click>=8.1", "msgspec>=0.19", "rich>=13.7"]
# ///
"""Watch a training run: progress, health, a live view, and a report with the goodput account.

RUN_DIR is the run folder (on a local target .trainyard/runs/NAME beside the job file). Nothing in it is changed, except that
`report` writes report.html.
"""

from __future__ import annotations

import trainyard_shell as shell

import click


@shell.program("monitor")
def cli() -> None:
    """Watch a training run: progress, health, a live view, and a report with the goodput account.

    RUN_DIR is the run folder: on a local target .trainyard/runs/NAME beside the job file.
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
        "monitor_training.py status .trainyard/runs/tiny-lm --json",
    )
)
@click.argument("run_dir")
@STALL_FACTOR
def status(run_dir: str, stall_factor: float) -> shell.Result:
    """Progress, loss, speed, time left, last checkpoint, restarts, and the state held against the living processes."""
    from monitor_verbs import status_result

    return status_result(run_dir, stall_factor)


@cli.command(
    epilog=shell.examples(
        "monitor_training.py health .trainyard/runs/tiny-lm",
        "monitor_training.py health .trainyard/runs/tiny-lm --stall-factor 30",
    )
)
@click.argument("run_dir")
@STALL_FACTOR
@START_LIMIT
def health(run_dir: str, stall_factor: float, start_limit_s: float) -> shell.Result:
    """Is it fit? Exit 0: no check failed and none is unknown. Exit 1: not, or not known."""
    from monitor_verbs import health_result

    return health_result(run_dir, stall_factor, start_limit_s)


@cli.command(
    epilog=shell.examples(
        "monitor_training.py watch .trainyard/runs/tiny-lm",
        "monitor_training.py watch .trainyard/runs/tiny-lm --interval 10 --timeout-s 3600 --json",
    )
)
@click.argument("run_dir")
@click.option("--interval", "interval_s", type=click.FloatRange(min=0.05), default=2.0, show_default=True, help="Seconds.")
@click.option("--once", is_flag=True, help="One look, then end.")
@click.option(
    "--timeout-s", type=click.FloatRange(min=0), help="Stop looking after this long. Default: 600 without a terminal."
)
@STALL_FACTOR
@START_LIMIT
def watch(
    run_dir: str, interval_s: float, once: bool, timeout_s: float | None, stall_factor: float, start_limit_s: float
) -> shell.Result:
    """A live view; without a terminal one JSON object a line. Ends when the run ends: exit 0 finished or stopped, else 1."""
    from monitor_verbs import watch_result

    return watch_result(run_dir, interval_s, once, timeout_s, stall_factor, start_limit_s)


@cli.command(
    epilog=shell.examples(
        "monitor_training.py report .trainyard/runs/tiny-lm",
        "monitor_training.py report .trainyard/runs/tiny-lm --output /tmp/tiny-lm.html",
    )
)
@click.argument("run_dir")
@click.option("--output", type=click.Path(), help="Where to write. Default: RUN_DIR/report.html.")
@click.option("--dry-run", is_flag=True, help="Compute everything, write nothing.")
@STALL_FACTOR
def report(run_dir: str, output: str | None, dry_run: bool, stall_factor: float) -> shell.Result:
    """One self-contained HTML file: plots, the run's time line, and where its wall time went."""
    from monitor_verbs import report_result

    return report_result(run_dir, output, dry_run, stall_factor)


if __name__ == "__main__":
    cli()
