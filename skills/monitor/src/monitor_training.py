# /// script
# requires-python = ">=3.11"
# dependencies = [
#   "click>=8.1",
#   "kubernetes>=35,!=36.0.0",  # optional: for a run on a cluster
#   "msgspec>=0.19",
#   "PyYAML>=6.0.2",
#   "rich>=13.7",
#   "urllib3>=2",
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
    cluster; --namespace, --context or --selector say so in any case. `status`, `health`, `metrics` and `report` also read a log file alone.
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
        "monitor_training.py compare .trainyard/runs/tiny-lm .trainyard/runs/tiny-lm-2",
        "monitor_training.py compare before.log after.log --output /tmp/compare.html",
    )
)
@click.argument("runs", metavar="RUN RUN", nargs=-1)
@click.option("--output", type=click.Path(), help="Where to write. Default: ./compare.html.")
@click.option("--dry-run", is_flag=True, help="Compute everything, write nothing.")
@STALL_FACTOR
def compare(runs: tuple[str, ...], output: str | None, dry_run: bool, stall_factor: float) -> shell.Result:
    """Two to six runs in the same charts: loss, validation loss, step time, throughput, and what their commands do not share.

    RUN is a run folder or a log file. One HTML file, the figures, and a chart of the losses in plain characters.
    """
    from run_report.compare import compare_result

    return compare_result(runs, output, dry_run, stall_factor)


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


@cli.command(
    epilog=shell.examples(
        "monitor_training.py efa .trainyard/runs/tiny-lm",
        "monitor_training.py efa pod-logs/ --ranks 16",
        "monitor_training.py efa tiny-lm -n team-a",
        "kubectl logs -l training.kubeflow.org/job-name=train --prefix --tail=-1 | monitor_training.py efa -",
    )
)
@named.options
@click.option("--ranks", type=click.IntRange(min=1), help="How many ranks the job has, where neither records nor NCCL tell.")
@click.option("--limit", type=click.IntRange(min=0), default=32, show_default=True, help="Print this many processes.")
def efa(run: Named, ranks: int | None, limit: int) -> shell.Result:
    """Does every rank use EFA? Exit 0: proven for all, or the question does not arise. Exit 1: not, or not known.

    The proof is NCCL's own: `NET/OFI Selected provider is efa` in each rank's log, which it prints with NCCL_DEBUG=INFO. One rank on
    TCP is a no. RUN may also be a log, a folder of logs, an evidence folder, or - for stdin.
    """
    if run.is_on_cluster:
        found = run.find()
        from hardware.on_cluster import efa_of_run

        return efa_of_run(found, ranks, limit)
    from hardware.efa_verb import check_efa_utilization
    from hardware.net_sources import find_logs

    return check_efa_utilization(find_logs(run.text or ""), ranks, limit)


@cli.command(
    epilog=shell.examples(
        "monitor_training.py gpu here --watch-s 30",
        "monitor_training.py gpu tiny-lm -n team-a",
        "monitor_training.py gpu all --prometheus http://localhost:9090",
        "nvidia-smi --query-gpu=index,uuid,utilization.gpu,temperature.gpu --format=csv | monitor_training.py gpu -",
    )
)
@named.options
@click.option("--prometheus", metavar="URL", help="A Prometheus that scrapes DCGM's exporter: it knows the last hour.")
@click.option("--watch-s", type=click.FloatRange(0, 600), default=10.0, show_default=True, help="Ask nvidia-smi for this long.")
@click.option("--interval", "interval_s", type=click.FloatRange(min=0.1), default=2.0, show_default=True, help="Seconds.")
@click.option("--expect", "expected", type=click.IntRange(min=1), help="How many GPUs the job holds, where nothing tells.")
@click.option("--limit", type=click.IntRange(min=0), default=32, show_default=True, help="Print this many GPUs.")
def gpu(
    run: Named, prometheus: str | None, watch_s: float, interval_s: float, expected: int | None, limit: int
) -> shell.Result:
    """Are the GPUs in use, and fit? Idle ones are named. Exit 0: yes. Exit 1: a GPU is idle for long, unfit, or not known.

    RUN may also be `here` (this machine), `all` (every GPU that --prometheus knows), or what nvidia-smi printed: a file, or - for
    stdin. On a cluster the source is --prometheus, else a Prometheus there, else nvidia-smi inside the pods.
    """
    from hardware.gpu_verb import Asked, HERE, check_gpu_utilization

    asked = Asked(prometheus, watch_s, interval_s, expected, limit)
    if run.is_on_cluster and run.text not in HERE:
        found = run.find()
        from hardware.on_cluster import gpu_of_run

        return gpu_of_run(found, asked)
    return check_gpu_utilization(run.text or "here", asked)


@cli.command(
    epilog=shell.examples(
        "monitor_training.py ranks .trainyard/runs/tiny-lm",
        "monitor_training.py ranks tiny-lm -n team-a --slow-factor 1.2",
    )
)
@named.options
@click.option("--slow-factor", type=click.FloatRange(min=1.05), default=1.3, show_default=True, help="Slow from here on.")
def ranks(run: Named, slow_factor: float) -> shell.Result:
    """Is a rank slow? Its own work on a step against that of the others of its group, in five windows of ten seconds."""
    if run.is_on_cluster:
        found = run.find()
        from hardware.on_cluster import ranks_of_run

        return ranks_of_run(found, slow_factor)
    from hardware.ranks_verb import ranks_result

    return ranks_result(run.text or "", slow_factor)


@cli.command(
    epilog=shell.examples(
        "monitor_training.py mfu train.log",
        "monitor_training.py mfu train.log --parameters 7B --gpu H100 --gpus 64 --whole-job",
    )
)
@click.argument("path", metavar="LOG_OR_RUN_DIR")
@click.option("--parameters", metavar="NUMBER", help="Of the model, such as 7B; of a mixture of experts the active ones.")
@click.option("--gpu", metavar="NAME", help="Such as H100. Default: as the log names it.")
@click.option("--precision", type=click.Choice(["bf16", "fp16", "fp8", "tf32", "fp32"]), default="bf16", show_default=True)
@click.option("--gpus", type=click.IntRange(min=1), help="How many the job has, where its tokens are counted together.")
@click.option("--tokens-per-s", type=click.FloatRange(min=0, min_open=True), help="Default: the log's median.")
@click.option("--per-gpu/--whole-job", "per_gpu", default=None, help="Whose tokens are counted. Default: by the log's unit.")
@click.option(
    "--expect", type=click.FloatRange(0, 1, min_open=True), help="As a part, such as 0.4. Default: the published ones."
)
def mfu(
    path: str,
    parameters: str | None,
    gpu: str | None,
    precision: str,
    gpus: int | None,
    tokens_per_s: float | None,
    per_gpu: bool | None,
    expect: float | None,
) -> shell.Result:
    """How much of the GPUs' peak the training uses: 6 FLOP a parameter and token, against what can be expected."""
    from hardware.mfu_verb import Given, mfu_result

    return mfu_result(path, Given(parameters, gpu, precision, gpus, tokens_per_s, per_gpu, expect))


if __name__ == "__main__":
    cli()
