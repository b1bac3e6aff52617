"""Ranks that do not come to a collective, or come to another one: gloo on this machine, with a short time-out."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time

from tests.doctor_corpus.bench import Bench
from tests.doctor_corpus.launching import local, ranks, torchrun, two_nodes, waited, when_log_has
from tests.doctor_corpus.truth import case

SHORT = {"PG_TIMEOUT": "6"}
DETAIL = {**SHORT, "TORCH_DISTRIBUTED_DEBUG": "DETAIL"}
AGAIN = ("RESTART_ELSEWHERE",)
REREAD = "dist.set_debug_level_from_env()"
"""A forked rank imported torch before its environment was set."""
RECORDER = """
import threading


def dump_when_asked():
    while not os.path.exists("dump"):
        time.sleep(0.1)
    with open(f"rank-{int(os.environ['RANK']):04d}.bin", "wb") as file:
        file.write(torch._C._distributed_c10d._dump_fr_trace())


threading.Thread(target=dump_when_asked, daemon=True).start()
"""


def dumped(bench: Bench, text: str, after_s: float = 2.5) -> None:
    """Asks the ranks for their flight recorders once the log has `text`, and waits for four."""
    when_log_has(bench.work / "out.log", text)
    time.sleep(after_s)
    (bench.work / "dump").touch()
    deadline = time.monotonic() + 20
    while len(list(bench.work.glob("rank-*.bin"))) < 4 and time.monotonic() < deadline:
        time.sleep(0.1)
    (bench.evidence / "flight").mkdir(exist_ok=True)
    for path in bench.work.glob("rank-*.bin"):
        shutil.copy(path, bench.evidence / "flight" / path.name)


@case(
    "rank-skips-all-reduce",
    cause="collective-missing",
    also=("collective-mismatch", "rank-stuck"),
    rank=1,
    restart="STOP",
    also_restart=("RESTART",),
    proof="(?i)timed out|timeout",
)
def skips(bench: Bench) -> None:
    """Rank 1 takes the branch for an empty batch and polls for another one; the flight recorders are dumped."""
    skip = 'if iteration == 17 and RANK == 1:\n    while not os.path.exists("queue/next"): time.sleep(0.2)'
    bench.script("caught", imports=RECORDER, step=skip)
    bench.write(
        "run/logs/attempt-0000.log",
        torchrun(
            bench, "train.py", env={**SHORT, "PG_TIMEOUT": "10"}, during=lambda _: dumped(bench, "iteration 17/40")
        ).read_bytes(),
    )
    bench.tell(engine="local", world_size=4, procs_per_node=4)


@case(
    "other-shape-checked",
    cause="collective-mismatch",
    rank=3,
    also_rank=("any", 0),
    restart="STOP",
    proof="Detected mismatch between collectives|TensorShape",
)
def other_shape(bench: Bench) -> None:
    """Rank 3 reduces a tensor of another shape; TORCH_DISTRIBUTED_DEBUG=DETAIL names both."""
    bench.script("ranked", imports=REREAD, loop="if step == 9: average(torch.zeros(7 if self.rank == 3 else 8))")
    bench.write("train.log", torchrun(bench, "train.py", env=DETAIL).read_bytes())


@case(
    "other-order-checked",
    cause="collective-mismatch",
    rank=2,
    also_rank=("any", 0),
    restart="STOP",
    proof="Detected mismatch between collectives|OpType",
)
def other_order(bench: Bench) -> None:
    """Rank 2 broadcasts first and reduces then; the others do it the other way round. Two pods."""
    first = "tensor = torch.ones(4)\n    calls = [lambda: dist.all_reduce(tensor), lambda: dist.broadcast(tensor, 0)]\n    for call in (reversed(calls) if self.rank == 2 else calls): call()"
    bench.script("ranked", imports=REREAD, loop=f"if step == 6:\n    {first}")
    bench.pods(two_nodes(bench, "train.py", env=DETAIL))


@case(
    "other-shape-unchecked",
    cause="collective-mismatch",
    rank=2,
    also_rank=("any", 0, 1, 3),
    restart="STOP",
    also_restart=("RESTART",),
    proof="op.preamble.length",
)
def unchecked(bench: Bench) -> None:
    """Rank 2's last batch is shorter: gloo alone sees that lengths differ, on a neighbour of rank 2."""
    bench.script("ranked", loop="if step == 9: average(torch.zeros(4096 if self.rank == 2 else 8192))")
    bench.write("train.log", torchrun(bench, "train.py", env=SHORT).read_bytes())


@case(
    "rank-leaves-early",
    cause="rank-left",
    also=("collective-missing",),
    rank=3,
    restart="STOP",
    also_restart=("RESTART",),
    proof="(?i)connection closed|connection reset",
)
def leaves(bench: Bench) -> None:
    """Rank 3 has fewer batches, says `finished` and ends with 0; the others still train."""
    bench.script("ranked", loop="if self.rank == 3 and step == 16: break")
    bench.write("train.log", torchrun(bench, "train.py", env=SHORT).read_bytes())


@case(
    "rank-leaves-early-unsaid",
    cause="rank-left",
    also=("collective-missing",),
    rank=1,
    restart="STOP",
    also_restart=("RESTART",),
    proof="(?i)connection closed|connection reset",
)
def leaves_silently(bench: Bench) -> None:
    """Rank 1's process ends with 0 in the middle, without a word; a run of local-runner."""
    bench.script("plain", step="if step == 12 and rank == 1: os._exit(0)")
    folder = local(bench, "torchrun", "train.py", options=("--max-restarts", "0"), env=SHORT)
    waited(bench, folder)
    bench.keep_run(folder)


@case(
    "rank-sleeps",
    cause="rank-stuck",
    also=("collective-missing",),
    rank=2,
    restart="RESTART",
    also_restart=AGAIN,
    proof="(?i)timed out|timeout|hang",
)
def sleeps(bench: Bench) -> None:
    """Rank 2 waits for a lock that nobody gives back; local-runner finds the hang and writes stacks."""
    wait = 'if step == 8 and rank == 2:\n    while os.path.exists("cache.lock"): time.sleep(1)'
    bench.script("plain", step=wait)
    (bench.work / "cache.lock").touch()
    folder = local(
        bench, "torchrun", "train.py", options=("--max-restarts", "0", "--hang-after-s", "8"), env={"PG_TIMEOUT": "300"}
    )
    waited(bench, folder)
    bench.keep_run(folder)


@case(
    "rank-spins",
    cause="rank-stuck",
    also=("collective-missing", "hang-unknown"),
    rank=0,
    also_rank=("any",),
    restart="RESTART",
    also_restart=AGAIN,
    proof="(?i)timed out|timeout",
)
def spins(bench: Bench) -> None:
    """Rank 0 spins in a loop of its own; flight recorders and Python stacks (faulthandler) are there."""
    hang = "if iteration == 11 and RANK == 0:\n    x = 1\n    while x: x = x * 3 % 1000003"
    stacks = 'import faulthandler\nimport signal\nfaulthandler.register(signal.SIGUSR2, file=open(f"stack{RANK}.txt", "w"))'
    bench.script("caught", imports=RECORDER + "\nRANK = int(os.environ['RANK'])\n" + stacks, step=hang)

    def during(_: subprocess.Popen[bytes]) -> None:
        dumped(bench, "iteration 11/40")
        for rank, pid in ranks(bench).items():
            os.kill(pid, signal.SIGUSR2)
            time.sleep(0.3)
            bench.write(f"stacks/rank-{rank:04d}.txt", (bench.work / f"stack{rank}.txt").read_bytes())
        time.sleep(10)
        for pid in ranks(bench).values():
            os.kill(pid, signal.SIGKILL)

    bench.pods([torchrun(bench, "train.py", env={**SHORT, "PG_TIMEOUT": "14"}, during=during).read_bytes()], procs=4)


@case(
    "rank-reads-a-pipe",
    cause="rank-stuck",
    also=("collective-missing", "hang-unknown"),
    rank=2,
    restart="RESTART",
    also_restart=(*AGAIN, "STOP"),
    proof="(?i)timed out|timeout",
)
def reads(bench: Bench) -> None:
    """Rank 2 reads from a pipe that nobody writes; its peers time out, and only the log is left."""
    os.mkfifo(bench.work / "labels")
    bench.script("ranked", loop='if step == 13 and self.rank == 2: Path("labels").read_text()')
    bench.write("train.log", torchrun(bench, "train.py", env=SHORT).read_bytes())


@case(
    "rank-stopped-supervised", cause="rank-stopped", rank=1, restart="RESTART", also_restart=AGAIN, proof="(?i)stopped|SIGSTOP"
)
def stopped(bench: Bench) -> None:
    """Somebody stops rank 1 (SIGSTOP); local-runner finds the hang."""
    bench.script("plain", step="time.sleep(0.3)")
    folder = local(
        bench, "torchrun", "train.py", options=("--max-restarts", "0", "--hang-after-s", "6"), env={"PG_TIMEOUT": "300"}
    )
    when_log_has(folder / "logs" / "attempt-0000.log", "step     3")
    os.kill(ranks(bench)[1], signal.SIGSTOP)
    waited(bench, folder)
    bench.keep_run(folder)


@case(
    "rank-stopped-log-only",
    cause="rank-stopped",
    also=("collective-missing", "rank-stuck", "hang-unknown"),
    rank=3,
    also_rank=("any",),
    restart="RESTART",
    also_restart=AGAIN,
    proof="(?i)timed out|timeout",
)
def stopped_bare(bench: Bench) -> None:
    """Rank 3 is stopped; all that is left is the log with the time-outs of its peers."""
    bench.script("ranked", loop="time.sleep(0.1)")

    def stop(_: subprocess.Popen[bytes]) -> None:
        when_log_has(bench.work / "out.log", "step=7 ")
        os.kill(pid := ranks(bench)[3], signal.SIGSTOP)
        when_log_has(bench.work / "out.log", "closing signal SIGTERM")
        time.sleep(1)
        os.kill(pid, signal.SIGKILL)

    bench.write("train.log", torchrun(bench, "train.py", env=SHORT, during=stop).read_bytes())
