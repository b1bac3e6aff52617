"""Jobs with nothing to find: finished, slow, or with errors that they handled; and one rank that is slow."""

from __future__ import annotations

import os
import signal
import subprocess

from tests.doctor_corpus.bench import Bench
from tests.doctor_corpus.launching import end, local, torchrun, two_nodes, waited, when_log_has
from tests.doctor_corpus.truth import case

HEALTHY = {"cause": "none", "rank": None, "restart": None}


@case("finished-run", **HEALTHY, proof="finished")
def finished(bench: Bench) -> None:
    """A run of local-runner that ends with 0."""
    bench.script("plain")
    folder = local(bench, "torchrun", "train.py")
    waited(bench, folder)
    bench.keep_run(folder)


@case("handled-errors", **HEALTHY, proof="OutOfMemoryError")
def handled(bench: Bench) -> None:
    """A caught out-of-memory, a sample that is skipped with its traceback, a retried download; then the end."""
    errors = """
    if step == 7:
        logger.warning("rank %d: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB; retrying with micro batch 4", self.rank)
    if step == 12:
        try:
            {}["image_00318.jpg"]
        except KeyError:
            logger.exception("skipping a sample that cannot be read")
    if step == 20 and self.rank == 0:
        logger.error("HTTP Error 503: Service Unavailable, attempt 1 of 5; trying again in 0.1 s")
    """
    bench.script("ranked", loop=errors)
    bench.write("train.log", torchrun(bench, "train.py").read_bytes())


@case("survived-data-retries-two-pods", **HEALTHY, proof="Connection refused")
def retries(bench: Bench) -> None:
    """Both pods retry a refused connection, warn about NaN gradients that the scaler skips, and finish with 0."""
    retry = """
    if step == 5:
        try:
            socket.create_connection(("127.0.0.1", 9), timeout=1)
        except OSError as error:
            logger.warning("metadata service: %s; using the cached answer", error)
    if step == 15: logger.info("GradScaler: found inf or nan gradients, skipping step %d, scale is now 32768", step)
    """
    bench.script("ranked", imports="import socket", loop=retry)
    bench.pods(two_nodes(bench, "train.py"))


@case("slow-but-steady", **HEALTHY, also=("unknown",), proof="step= *4|step *4")
def slow(bench: Bench) -> None:
    """A job that goes on, slowly: the log ends after a step because it was read then."""
    bench.script("ranked", loop="time.sleep(0.6 if step % 5 else 1.5)")

    def read(process: subprocess.Popen[bytes]) -> None:
        when_log_has(bench.work / "out.log", "step=12 ")
        bench.write("train.log", (bench.work / "out.log").read_bytes())
        os.kill(process.pid, signal.SIGKILL)
        end(process, bench.work)

    torchrun(bench, "train.py", during=read)


@case("words-of-failure-in-data", **HEALTHY, proof="CUDA error")
def words(bench: Bench) -> None:
    """A language model prints samples that quote errors; the job finishes."""
    samples = [
        "RuntimeError: CUDA error: an illegal memory access was encountered",
        "NCCL WARN and then the watchdog caught collective operation timeout",
        "Killed process 4242 (python), out of memory",
    ]
    bench.script(
        "plain",
        setup=f"samples = {samples!r}",
        after='if rank == 0 and step % 12 == 0: print(f"sample at step {step}: {samples[step // 12 - 1]!r}", flush=True)',
    )
    bench.write("train.log", torchrun(bench, "train.py", procs=2).read_bytes())


@case("one-slow-rank", cause="slow-rank", rank=1, restart="RESTART_ELSEWHERE", also_restart=("RESTART",), proof="compute")
def slow_rank(bench: Bench) -> None:
    """Rank 1 computes four times as long as its peers, in each step; nothing fails, the log was read in the middle."""
    bench.script(
        "ranked",
        step="began = time.perf_counter()\ntime.sleep(0.32 if self.rank == 1 else 0.08)",
        reduce='logger.info("step=%d compute=%.3fs", step, time.perf_counter() - began)',
    )

    def read(process: subprocess.Popen[bytes]) -> None:
        when_log_has(bench.work / "out.log", "step=25 loss")
        bench.write("train.log", (bench.work / "out.log").read_bytes())
        os.kill(process.pid, signal.SIGKILL)
        end(process, bench.work)

    torchrun(bench, "train.py", during=read)
