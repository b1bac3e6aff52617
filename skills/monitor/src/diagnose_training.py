# /// script
# requires-python = ">=3.11"
# dependencies = ["click>=8.1", "msgspec>=0.19", "PyYAML>=6.0.2", "rich>=13.7"]
# ///
"""Find out why a training run failed, hangs or restarts: the root cause with its proof, the errors of a log, the attempts of a run.

RUN is a run folder, a folder of evidence or of logs, or one log. Nothing in it is changed.
"""

from __future__ import annotations

import trainyard_shell as shell

import click


@shell.program("monitor")
def cli() -> None:
    """Find out why a training run failed, hangs or restarts: the root cause with its proof, the errors of a log, the attempts of a run.

    RUN is a run folder (on a local target .trainyard/runs/NAME beside the job file), a folder of evidence or of logs, or one log.
    """


@cli.command(
    epilog=shell.examples(
        "diagnose_training.py doctor .trainyard/runs/tiny-lm",
        "diagnose_training.py doctor train.log --json",
    )
)
@click.argument("run")
@click.option("--attempt", type=click.IntRange(min=0), help="Of a run with several attempts this one. Default: the newest.")
def doctor(run: str, attempt: int | None) -> shell.Result:
    """The one most probable root cause: whose it is, the lines that prove it, what to do, and what a restart would bring."""
    from diagnosis.verbs import doctor_result

    return doctor_result(run, attempt)


@cli.command(
    epilog=shell.examples(
        "diagnose_training.py summary train.log",
        "diagnose_training.py summary logs/ --limit 50",
    )
)
@click.argument("path", metavar="LOG_OR_FOLDER")
@click.option(
    "--limit", type=click.IntRange(min=1, max=1000), default=20, show_default=True, help="Print so many kinds of errors."
)
def summary(path: str, limit: int) -> shell.Result:
    """The errors of a log, each kind once: how often, whose, which lines, and whether the run went on after them."""
    from diagnosis.verbs import summary_result

    return summary_result(path, limit)


@cli.command(
    epilog=shell.examples(
        "diagnose_training.py ledger .trainyard/runs/tiny-lm",
        "diagnose_training.py ledger evidence/ --json",
    )
)
@click.argument("run")
def ledger(run: str) -> shell.Result:
    """The attempts of a run: the cause of each, the steps that it gained, and whether another restart can help."""
    from diagnosis.verbs import ledger_result

    return ledger_result(run)


if __name__ == "__main__":
    cli()
