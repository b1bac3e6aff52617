"""Jobs that are told to end: by their user, by a deadline, by an agreed stop."""

from __future__ import annotations

import os
import signal
import subprocess

from tests.doctor_corpus.bench import Bench
from tests.doctor_corpus.launching import call, local, torchrun, two_nodes, waited, when_log_has
from tests.doctor_corpus.truth import case

EVERYBODY = ("any", "all", "launcher", 0)
SLOW = "time.sleep(0.2)"


@case(
    "stopped-by-user-run",
    cause="stopped-by-user",
    also=("agreed-stop",),
    rank="any",
    also_rank=(*EVERYBODY, None),
    restart="STOP",
    also_restart=("RESTART",),
    proof="stop-requested|stopped",
)
def by_user(bench: Bench) -> None:
    """`run_local.py stop` on a run whose script knows no signals."""
    bench.script("plain", step=SLOW)
    folder = local(bench, "torchrun", "train.py", options=("--stop-grace-s", "3"))
    when_log_has(folder / "logs" / "attempt-0000.log", "step     4")
    call(bench, "stop", str(folder))
    waited(bench, folder)
    bench.keep_run(folder)


@case(
    "sigterm-log-only",
    cause="stopped-by-user",
    also=("deadline", "preempted", "agreed-stop"),
    rank="launcher",
    also_rank=(*EVERYBODY, None),
    restart="STOP",
    also_restart=("RESTART",),
    proof="got signal: 15|death signal",
)
def sigterm(bench: Bench) -> None:
    """torchrun gets SIGTERM; its log alone."""
    bench.script("ranked", loop=SLOW)

    def stop(process: subprocess.Popen[bytes]) -> None:
        when_log_has(bench.work / "out.log", "step=8 ")
        os.kill(process.pid, signal.SIGTERM)

    bench.write("train.log", torchrun(bench, "train.py", during=stop).read_bytes())


@case(
    "interrupted-by-keyboard",
    cause="stopped-by-user",
    rank="any",
    also_rank=(*EVERYBODY, 1, 2, 3, None),
    restart="STOP",
    also_restart=("RESTART",),
    proof="KeyboardInterrupt|got signal: 2|SIGINT",
)
def ctrl_c(bench: Bench) -> None:
    """Ctrl-C in the terminal: SIGINT for the launcher and every rank."""
    bench.script("plain", step=SLOW)

    def stop(process: subprocess.Popen[bytes]) -> None:
        when_log_has(bench.work / "out.log", "step     6")
        os.kill(process.pid, signal.SIGINT)

    bench.write("train.log", torchrun(bench, "train.py", during=stop).read_bytes())


@case(
    "agreed-stop-two-pods",
    cause="agreed-stop",
    also=("stopped-by-user",),
    rank="all",
    also_rank=(*EVERYBODY, None),
    restart="RESTART",
    also_restart=("STOP",),
    proof="stop",
)
def agreed(bench: Bench) -> None:
    """Both pods get SIGTERM under our launcher; the ranks agree on a step, save, and end."""
    bench.script("yard", loop=SLOW)
    run = bench.work / "run"

    def stop(process: subprocess.Popen[bytes]) -> None:
        when_log_has(bench.work / "node-0.log", "trainyard step=6 ")
        os.kill(process.pid, signal.SIGTERM)

    logs = two_nodes(bench, "train.py", launcher="launch", during=stop, run_dir=run)
    bench.pods(logs)
    bench.keep_files(run)
