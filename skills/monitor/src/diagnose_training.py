# /// script
# requires-python = ">=3.11"
# dependencies = [
#   "click>=8.1",
#   "kubernetes>=35,!=36.0.0",  # optional
#   "msgspec>=0.19",
#   "PyYAML>=6.0.2",
#   "rich>=13.7",
#   "urllib3>=2",  # optional
#   "websocket-client>=1.8",  # optional
# ]
# ///
"""Find out why a training run fails, hangs or is slow: the root cause, its evidence in one folder, stacks of ranks, flight recorders.

RUN is the run folder (on a local target .trainyard/runs/NAME beside the job file), or the name of a run or job on a cluster.
Nothing in it is changed.
"""

from __future__ import annotations

import trainyard_shell as shell

import click
from cluster_run import named
from cluster_run.named import Named


@shell.program("monitor")
def cli() -> None:
    """Find out why a training run fails, hangs or is slow: the root cause, its evidence in one folder, stacks of ranks, flight recorders.

    RUN is the run folder (on a local target .trainyard/runs/NAME beside the job file), or the name of a run or job on a cluster.
    Nothing in it is changed.
    """


# --- the root cause ----------------------------------------------------------------------------------------------


@cli.command(
    epilog=shell.examples(
        "diagnose_training.py doctor .trainyard/runs/tiny-lm",
        "diagnose_training.py doctor train.log",
        "diagnose_training.py doctor tiny-lm -n team-a",
    )
)
@named.options
@click.option("--attempt", type=click.IntRange(min=0), help="Of a run with several attempts this one. Default: the newest.")
def doctor(run: Named, attempt: int | None) -> shell.Result:
    """The one most probable root cause: whose it is, the lines that prove it, what to do, and what a restart would bring.

    RUN may also be a folder of evidence or of logs, or one log. Exit 0: it answered; `cause` is none where nothing is wrong, unknown
    where nothing says why.
    """
    from diagnosis.verbs import doctor_result

    return doctor_result(run, attempt)


@cli.command(
    epilog=shell.examples(
        "diagnose_training.py ledger .trainyard/runs/tiny-lm",
        "diagnose_training.py ledger tiny-lm -n team-a --json",
    )
)
@named.options
def ledger(run: Named) -> shell.Result:
    """The attempts of a run: the cause of each, the steps that it gained, and whether another restart can help."""
    from diagnosis.verbs import ledger_result

    return ledger_result(run)


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


# --- collect -----------------------------------------------------------------------------------------------------


@cli.command(
    epilog=shell.examples(
        "diagnose_training.py collect .trainyard/runs/tiny-lm",
        "diagnose_training.py collect tiny-lm -n team-a --output /tmp/evidence --max-total-mib 64",
    )
)
@named.options
@click.option("--output", type=click.Path(), help="The folder to make. Default: evidence-RUN-TIME in the current folder.")
@click.option(
    "--max-file-mib",
    type=click.IntRange(1, 1024),
    default=8,
    show_default=True,
    help="Of a longer log half of this is kept from its head, half from its tail.",
)
@click.option("--max-total-mib", type=click.IntRange(2, 65536), default=256, show_default=True, help="Of the whole folder.")
@click.option(
    "--timeout-s", type=click.FloatRange(min=1), default=300.0, show_default=True, help="What is not read by then is left out."
)
@click.option("--dry-run", is_flag=True, help="Read everything, write nothing.")
def collect(
    run: Named, output: str | None, max_file_mib: int, max_total_mib: int, timeout_s: float, dry_run: bool
) -> shell.Result:
    """Writes a private folder of evidence: logs, records, stacks, events, nodes and objects; without secrets.

    What could not be read, or was too long, stands in `left_out` of its evidence.json with the reason.
    """
    from evidence_folder.limits import MIB, Limits
    from evidence_folder.verb import collect_result

    limits = Limits(max_file_mib * MIB, max_total_mib * MIB, timeout_s)
    return collect_result(run, output, limits, dry_run=dry_run)


# --- stacks and the flight recorder ------------------------------------------------------------------------------


@cli.command(
    epilog=shell.examples(
        "diagnose_training.py stacks .trainyard/runs/tiny-lm",
        "diagnose_training.py stacks tiny-lm -n team-a --no-signal",
    )
)
@named.options
@click.option(
    "--interval",
    "interval_s",
    type=click.FloatRange(0.1, 60),
    default=0.5,
    show_default=True,
    help="Seconds over which the use of processors is measured.",
)
@click.option(
    "--signal/--no-signal", "may_ask", default=True, help="Ask ranks of Trainyard's runtime to print their stacks (SIGUSR2)."
)
def stacks(run: Named, interval_s: float, may_ask: bool) -> shell.Result:
    """What every rank does now: identical stacks in one line, outliers first, and the parallel group that these share.

    Ranks of Trainyard's runtime print their stacks and dump their flight recorders themselves; others are read with py-spy, which does
    not stop them. Exit 1: a rank is stopped or gone, or cannot be read.
    """
    if run.is_on_cluster:
        from rank_stacks.in_pods import stacks_in_pods

        return stacks_in_pods(run, interval_s, may_ask)
    from rank_stacks.verb import stacks_here

    return stacks_here(str(run.text), interval_s, may_ask)


@cli.command(
    epilog=shell.examples(
        "diagnose_training.py flight .trainyard/runs/tiny-lm",
        "diagnose_training.py flight /tmp/nccl_traces --json",
    )
)
@click.argument("folder", metavar="RUN_OR_FOLDER")
def flight(folder: str) -> shell.Result:
    """Which ranks hold the others up, by the flight recorder dumps in a run folder, a folder of evidence, or one of torch's own files.

    Exit 0: nobody waits for long. Exit 1: it names the collective, the group and the ranks that are missing or call another one; or the
    dumps do not say. The files are pickles; nothing in them is run.
    """
    from flight_recorder.verb import flight_result

    return flight_result(folder)


if __name__ == "__main__":
    cli()
