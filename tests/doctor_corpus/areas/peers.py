"""Ranks that their peers wait for: a lock, a barrier that one misses, an early end, a signal, a notice, a loop that was never closed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

from tests.doctor_corpus.areas.frameworks import OFFLINE
from tests.doctor_corpus.areas.network import server
from tests.doctor_corpus.bench import Bench
from tests.doctor_corpus.launching import (
    environment,
    finish,
    free_port,
    local,
    ranks,
    started,
    torchrun,
    two_nodes,
    waited,
    when_log_has,
)
from tests.doctor_corpus.truth import case

AGAIN = ("RESTART_ELSEWHERE",)
FORKED = re.compile(rb"^.*File \"(?:<frozen runpy>|[^\"\n]*/forking_torchrun/\w+\.py)\", line \d+ in .*\n", re.MULTILINE)
"""Frames of a rank that was forked for speed, as faulthandler writes them."""


def spawned(bench: Bench, processes: int, world: int, **env: str) -> bytes:
    """The log of a program that starts its own processes."""
    path = bench.work / "out.log"
    words = [sys.executable, str(bench.work / "main.py"), str(processes), str(world), str(free_port())]
    with started(words, path, bench.work, environment(**env)) as process:
        finish(process)
    return path.read_bytes()


PREFETCH = """
import faulthandler
import queue
import threading


def prefetch(ready, index, rank):
    for item in range(1, 1000):
        index.acquire()
        if rank == 1 and item == 16:
            continue
        index.release()
        ready.put(item)
"""


@case(
    "prefetch-thread-locks-itself",
    cause="rank-stuck",
    also=("collective-missing", "hang-unknown"),
    rank=1,
    restart="RESTART",
    also_restart=(*AGAIN, "STOP"),
    proof="in prefetch",
)
def locks_itself(bench: Bench) -> None:
    """Rank 1's prefetch thread keeps its lock when it skips an item, and waits for it; every rank dumps its threads after 7 s in a step."""
    begin = "self.ready, lock = queue.Queue(2), threading.Lock()\nthreading.Thread(target=prefetch, args=(self.ready, lock, self.rank), daemon=True).start()"
    bench.script(
        "ranked", imports=PREFETCH, setup=begin, loop="faulthandler.dump_traceback_later(7)", sample="self.ready.get()"
    )
    flags = ("--standalone", "--tee", "3", "--log-dir", str(bench.work / "logs"))
    log = torchrun(bench, "train.py", flags=flags, env={"PG_TIMEOUT": "14"}).read_bytes()
    bench.write("train.log", FORKED.sub(b"", log))


@case(
    "monitored-barrier-names-rank",
    cause="collective-missing",
    also=("collective-mismatch", "rank-stuck"),
    rank=2,
    restart="STOP",
    also_restart=("RESTART",),
    proof="(?i)failed to pass monitoredBarrier",
)
def monitored(bench: Bench) -> None:
    """Rank 2 has no held-out documents and skips the evaluation with its monitored barrier; it waits in the next backward pass."""
    evaluate = 'if step == 15 and held_out:\n    print(f"rank {rank}: evaluating {len(held_out)} held-out documents", flush=True)\n    dist.monitored_barrier(timeout=timedelta(seconds=6), wait_all_ranks=True)'
    bench.script("plain", setup="held_out = [] if rank == 2 else list(range(10 + rank))", after=evaluate)
    bench.write("train.log", torchrun(bench, "train.py", env={"PG_TIMEOUT": "25"}).read_bytes())


@case(
    "early-stopping-on-one-rank",
    cause="rank-left",
    also=("collective-missing",),
    rank=1,
    restart="STOP",
    also_restart=("RESTART",),
    proof="(?i)connection closed|connection reset",
)
def early_stopping(bench: Bench) -> None:
    """Process 1 of three decides by its own validation loss that it need not go on, and ends with 0; accelerate."""
    stop = 'if step == 13 and accelerator.process_index == 1:\n    print("EarlyStopping: validation loss did not improve for 3 evaluations (best 1.0821), stopping at step 13", flush=True)\n    return'
    bench.script("accel", step=stop)
    folder = local(bench, "accelerate", "launch", "train.py", procs=3, options=("--max-restarts", "0"), env=OFFLINE)
    waited(bench, folder)
    bench.keep_run(folder)


@case(
    "one-rank-terminated",
    cause="killed",
    also=("stopped-by-user", "preempted"),
    rank=2,
    restart="RESTART",
    also_restart=(*AGAIN, "STOP"),
    proof="SIGTERM",
)
def terminated(bench: Bench) -> None:
    """Somebody on the second node sends SIGTERM to rank 2 alone."""
    bench.script("ranked", loop="time.sleep(0.2)")

    def terminate(_: subprocess.Popen[bytes]) -> None:
        when_log_has(bench.work / "node-0.log", "step=9 ")
        os.kill(ranks(bench)[2], signal.SIGTERM)

    bench.pods(two_nodes(bench, "train.py", during=terminate))


@case(
    "spawned-processes-too-few",
    cause="rendezvous-failed",
    rank="launcher",
    also_rank=("any", "all", None, 0, 1, 2, 3),
    restart="STOP",
    also_restart=("RESTART", "RESTART_ELSEWHERE"),
    proof="DistStoreError: wait timeout",
)
def too_few(bench: Bench) -> None:
    """A program starts three processes of its own and tells each that there are four: the store times out."""
    bench.script("spawned", "main.py", begin='print(f"process {rank} of {world} starts", flush=True)')
    bench.write("nohup.out.log", spawned(bench, 3, 4, PG_TIMEOUT="8"))


@case(
    "spot-notice-heeded",
    cause="preempted",
    also=("agreed-stop",),
    rank=0,
    also_rank=("any", "all", None, "launcher", 1, 2, 3),
    restart="RESTART",
    also_restart=AGAIN,
    proof="instance-action",
)
def spot(bench: Bench) -> None:
    """The instance's metadata tells of a Spot interruption; the ranks hear of it in a reduction, save, and leave with 75."""
    look = """
    notice = torch.zeros(1)
    if step == 20 and self.rank == 0:
        path = "/latest/meta-data/spot/instance-action"
        answer = urllib.request.urlopen(os.environ["METADATA"] + path, timeout=5).read().decode()
        logger.warning("%s says %s: the instance goes in two minutes", path, answer)
        notice += 1
    if step % 10 == 0 and average(notice) > 0:
        torch.save(self.model.state_dict(), f"interrupted-{self.rank}.pt")
        logger.warning("saved step %d, leaving with 75 before the interruption", step)
        sys.exit(75)
    """
    bench.script("ranked", imports="import urllib.request", loop=look)
    with server(200, '{"action": "terminate", "time": "2026-11-27T11:16:05Z"}') as url:
        bench.pods(two_nodes(bench, "train.py", env={"METADATA": url}))


MIXED = """
class Mixed(nn.Module):
    audio = True

    def __init__(self):
        super().__init__()
        self.trunk, self.head, self.sound = nn.Linear(32, 64), nn.Linear(64, 2), nn.Linear(64, 2)

    def forward(self, x):
        hidden = F.relu(self.trunk(x))
        return self.head(hidden) + self.sound(hidden) if self.audio else self.head(hidden)

model = DDP(Mixed())
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
"""


@case(
    "ddp-unused-parameters-one-rank",
    cause="script-error",
    also=("collective-missing", "collective-mismatch"),
    rank=2,
    restart="STOP",
    also_restart=("RESTART",),
    proof="Expected to have finished reduction",
)
def unused(bench: Bench) -> None:
    """A batch of rank 2 has no sound: its head gets no gradient, and DDP refuses the next forward pass there."""
    bench.script("plain", model=MIXED, step="model.module.audio = not (rank == 2 and step == 18)")
    folder = local(bench, "torchrun", "train.py", options=("--max-restarts", "0"))
    waited(bench, folder)
    bench.keep_run(folder, bare=True)


@case(
    "thread-keeps-rank-after-the-end",
    cause="rank-stuck",
    also=("hang-unknown",),
    rank=1,
    restart="RESTART",
    also_restart=(*AGAIN, "STOP"),
    proof="(?i)hang|stuck",
)
def never_ends(bench: Bench) -> None:
    """All ranks have trained; rank 1's upload thread waits for a word to end that nobody gives, and the run goes on for ever."""
    uploads = "import queue, threading\nif rank == 1: threading.Thread(target=queue.Queue().get, name='uploads').start()"
    bench.script("plain", setup=uploads)
    folder = local(bench, "torchrun", "train.py", options=("--max-restarts", "0", "--hang-after-s", "8"))
    began = time.monotonic()
    waited(bench, folder)
    if time.monotonic() - began < 5:
        raise RuntimeError("the run ended by itself")
    bench.keep_run(folder)
