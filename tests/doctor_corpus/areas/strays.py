"""Ranks that stray from their peers or are stopped from outside, disks and memory that end; and jobs that only look bad. All of them run here."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys

from tests.doctor_corpus.areas.desks import AGAIN, AWAY, BAR, LINES, own
from tests.doctor_corpus.areas.healthy import HEALTHY
from tests.doctor_corpus.areas.peers import FORKED, spawned
from tests.doctor_corpus.areas.state import EVERYBODY
from tests.doctor_corpus.bench import Bench
from tests.doctor_corpus.launching import (
    end,
    environment,
    finish,
    free_port,
    local,
    started,
    torchrun,
    two_nodes,
    waited,
    when_log_has,
)
from tests.doctor_corpus.truth import case

FULL = """
if RANK == 2:
    # In a mount namespace of its own: all of /tmp is full, and the folder of the script is there, read-only.
    here, libc = os.getcwd(), ctypes.CDLL(None)
    assert libc.unshare(0x00020000) == 0
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    place = os.open(here, os.O_RDONLY)
    for each in {"/tmp", "/var/tmp", os.environ.get("TMPDIR", "/tmp")}:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", each], check=True)
        if here.startswith(each):
            os.makedirs(here)
            assert libc.mount(f"/proc/self/fd/{place}".encode(), here.encode(), None, 4096, None) == 0
            assert libc.mount(None, here.encode(), None, 4096 | 32 | 1, None) == 0
        with contextlib.suppress(OSError), open(each + "/core.4127", "wb", buffering=0) as file:
            while file.write(bytes(4096)): pass
    tempfile.tempdir = None
def disk():
    told = shutil.disk_usage("/tmp")
    return {"path": "/tmp", "used_pct": round(100 * (1 - told.free / told.total), 1)}
"""
RENDER = """
if step % 8 == 0: emit("scratch_disk", **disk())
if step == 20:
    with tempfile.NamedTemporaryFile(suffix=".mp4") as video:
        video.write(x.numpy().tobytes())
    emit("rendered_preview", step=step)
"""


@case(
    "scratch-disk-full",
    cause="disk-full",
    also=("file-permission",),
    rank=2,
    restart="STOP",
    also_restart=("RESTART", *AWAY),
    proof="No usable temporary directory",
)
def scratch(bench: Bench) -> None:
    """/tmp of rank 2 is full: Python finds no temporary directory that can be written, and says so in other words; JSON lines tell that 100 % are used."""
    own(bench, LINES, imports="import contextlib, ctypes, shutil, subprocess, tempfile", setup=FULL, step=RENDER)
    bench.write("stdout.log", torchrun(bench, "train.py", procs=4).read_bytes())


PIPELINE = """
count = 3 if self.rank == 0 and step == 13 else 4
for micro in range(count):
    held = torch.full((16,), float(micro))
    if self.rank > 0: dist.recv(held, self.rank - 1, tag=micro)
    if self.rank < self.world - 1: dist.send(held, self.rank + 1, tag=micro)
logger.info("stage %d: %d micro-batches passed on in step %d", self.rank, count, step)
"""


@case(
    "pipeline-a-micro-batch-short",
    cause="collective-missing",
    also=("collective-mismatch", "rank-stuck"),
    rank=0,
    also_rank=("any",),
    restart="STOP",
    also_restart=AGAIN,
    proof="(?i)timed out|timeout",
)
def short(bench: Bench) -> None:
    """The first of three stages passes on three micro-batches where the next one waits for four: point to point, and all time out."""
    bench.script("ranked", loop=PIPELINE)
    bench.write("train.log", torchrun(bench, "train.py", procs=3, env={"PG_TIMEOUT": "10"}).read_bytes())


SHARE = """
if step == 18:
    held = 0.91 + 0.01 * RANK
    best = 1 if RANK == 1 else 0
    log("INFO", f"validation loss {held:.3f}; taking the weights of rank {best}")
    for parameter in model.parameters():
        dist.broadcast(parameter.data, src=best)
    log("INFO", f"weights of rank {best} are in place")
"""


@case(
    "broadcast-from-two-sources",
    cause="collective-mismatch",
    also=("collective-missing", "rank-stuck", "hang-unknown"),
    rank=1,
    also_rank=("any",),
    restart="STOP",
    also_restart=AGAIN,
    proof="(?i)timed out|timeout",
)
def sources(bench: Bench) -> None:
    """Rank 1 takes itself for the best one and broadcasts, all others wait for rank 0's weights."""
    own(bench, BAR, after=SHARE)
    bench.pods([torchrun(bench, "train.py", procs=3, env={"PG_TIMEOUT": "12"}).read_bytes()], procs=3)


@case(
    "terminal-closed",
    cause="stopped-by-user",
    also=("killed",),
    rank="launcher",
    also_rank=(*EVERYBODY, "all", 1, None),
    restart="RESTART",
    also_restart=("STOP",),
    proof="(?i)SIGHUP|got signal: 1\\b|Received 1 death signal",
)
def hangup(bench: Bench) -> None:
    """The connection to the machine ended, and with it the terminal: torchrun without nohup hears SIGHUP."""
    own(bench, BAR, step="time.sleep(0.25)")

    def hang_up(process: subprocess.Popen[bytes]) -> None:
        when_log_has(bench.work / "out.log", "step 8/40")
        os.kill(process.pid, signal.SIGHUP)

    bench.write("sft.log", torchrun(bench, "train.py", procs=2, during=hang_up).read_bytes())


MASK = """
if self.rank == 2 and step == 17:
    length = 56_000
    logger.info("document of %d tokens, building its attention mask", length)
    self.mask = torch.ones(length, length, dtype=torch.float32).tril()
"""
LIMIT = """
if self.rank == 2:
    import resource
    pages = int(open("/proc/self/statm").read().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * 4096 + (3 << 30), resource.RLIM_INFINITY))
"""


@case(
    "allocator-of-host-refuses",
    cause="host-oom",
    rank=2,
    restart="STOP",
    also_restart=(*AGAIN, *AWAY),
    proof="DefaultCPUAllocator: can't allocate memory",
)
def refuses(bench: Bench) -> None:
    """A long document of rank 2 needs a mask of 12 GB, more than the process may have: torch's allocator raises, nobody is killed."""
    bench.script("ranked", setup=LIMIT, sample=MASK)
    folder = local(bench, "torchrun", "train.py", procs=3, options=("--max-restarts", "0"))
    waited(bench, folder)
    bench.keep_run(folder)


RESUME = """
if Path("last.pt").exists():
    logger.info("found last.pt, resuming")
    state = torch.load("last.pt", weights_only=True)
    self.model.load_state_dict(state["model"])
"""
SAVE = """
if step % 5 == 0 and self.rank == 0:
    whole = io.BytesIO()
    torch.save({"model": self.model.state_dict(), "pad": torch.zeros(90_000), "step": step}, whole)
    data = whole.getvalue()
    logger.info("writing last.pt, %d bytes", len(data))
    with open("last.pt", "wb", buffering=0) as file:
        file.write(data[: len(data) // 3])
        if step == 15: os.kill(os.getpid(), 9)
        file.write(data[len(data) // 3 :])
"""


@case(
    "killed-while-saving-then-unreadable",
    cause="checkpoint-damaged",
    rank="all",
    also_rank=(0, 1, 2, "any"),
    restart="RESTART_OLDER",
    also_restart=("STOP",),
    proof=r"PytorchStreamReader|failed finding central directory",
)
def unreadable(bench: Bench) -> None:
    """Rank 0 is killed in the middle of its save, once; the two attempts after it cannot read what it left, on any rank."""
    bench.script("ranked", imports="import io", setup=RESUME, after=SAVE)
    folder = local(bench, "torchrun", "train.py", procs=3, options=("--max-restarts", "2", "--backoff-s", "0"))
    waited(bench, folder)
    bench.keep_run(folder)


TOKENIZE = """
if RANK == 0:
    log("INFO", "tokenizing the train split for all ranks")
    for document in tqdm(range(60000), desc="Tokenizing train (num_proc=1)", mininterval=1.0, unit=" examples"):
        time.sleep(0.002)
    log("INFO", "tokenized 60000 documents, cache written")
else:
    log("INFO", "waiting for rank 0 to tokenize")
dist.barrier()
"""


@case(
    "tokenizing-outlasts-the-barrier",
    cause="collective-missing",
    also=("rank-stuck", "slow-rank"),
    rank=0,
    restart="STOP",
    also_restart=AGAIN,
    proof=r"Tokenizing train[\s\S]*(?i:timed out|timeout)",
)
def outlasts(bench: Bench) -> None:
    """Rank 0 tokenizes the data set for everybody, which takes longer than the barrier of the others may."""
    own(bench, BAR, setup=TOKENIZE)
    bench.write("sft.log", torchrun(bench, "train.py", procs=4, env={"PG_TIMEOUT": "14"}).read_bytes())


@case(
    "master-misspelt-on-second-node",
    cause="name-resolution",
    also=("rendezvous-failed",),
    rank=1,
    also_rank=("any",),
    restart="STOP",
    also_restart=(*AGAIN, *AWAY),
    proof="(?i)name or service not known|name resolution|gai error",
)
def misspelt(bench: Bench) -> None:
    """No launcher: each node starts one process, and the second one's MASTER_ADDR has a letter too few; the first waits for it."""
    bench.script("ranked")
    port, logs = free_port(), [bench.work / f"node-{rank}.log" for rank in (0, 1)]
    with contextlib.ExitStack() as stack:
        processes = []
        for rank, log in enumerate(logs):
            address = "127.0.0.1" if rank == 0 else "pretrain-master-0.pretrain.reserch.svc.cluster.local"
            own_env = {
                "RANK": str(rank),
                "WORLD_SIZE": "2",
                "LOCAL_RANK": "0",
                "MASTER_ADDR": address,
                "MASTER_PORT": str(port),
            }
            words = [sys.executable, str(bench.work / "train.py")]
            processes.append(stack.enter_context(started(words, log, bench.work, environment(**own_env))))
        for process in processes:
            finish(process)
    bench.pods([log.read_bytes() for log in logs], procs=1)


TABLE = """
import logging
import requests
from requests.adapters import HTTPAdapter
from rich.console import Console
from rich.table import Table
from urllib3.util.retry import Retry

logging.basicConfig(format=f"WARNING:rank{os.environ['RANK']}:%(name)s:%(message)s")


def show(step, loss, rate):
    table = Table(title=f"step {step}")
    for name in ("rank", "loss", "samples/s", "nan", "errors"):
        table.add_column(name, justify="right")
    for rank in range(WORLD):
        table.add_row(str(rank), f"{loss + rank / 500:.4f}", f"{rate:.0f}", "0", "0")
    Console(width=70).print(table)
"""
MIRRORS = """
session = requests.Session()
session.mount("http://", HTTPAdapter(max_retries=Retry(total=3, backoff_factor=0.1)))
for mirror in ("http://127.0.0.1:9", "http://127.0.0.1:10"):
    try:
        session.get(mirror + "/vocab.json", timeout=2)
        break
    except requests.ConnectionError as error:
        log("ERROR", f"download failed: {error}")
else:
    log("WARNING", "all mirrors failed, taking the vocabulary of the image (sha256 matches)")
"""


@case("mirrors-refuse-image-has-it", **HEALTHY, proof=r"Connection refused[\s\S]*training complete")
def mirrors(bench: Bench) -> None:
    """Both mirrors of the vocabulary refuse connections, urllib3 retries and the script tells errors; the image has a copy, the job ends well; rich's tables."""
    own(bench, BAR, imports=TABLE, setup=MIRRORS, after="if step % 10 == 0 and RANK == 0: show(step, loss.item(), 812.0)")
    bench.pods(two_nodes(bench, "train.py"))


@case("rank-a-little-slower", **HEALTHY, also=("unknown",), proof='"step": 2[0-9]')
def little_slower(bench: Bench) -> None:
    """Rank 2 needs a tenth longer than its peers, as some always does; the job goes on, its JSON lines were read in the middle."""
    own(bench, LINES, step="time.sleep(0.33 if RANK == 2 else 0.30)")

    def read(process: subprocess.Popen[bytes]) -> None:
        when_log_has(bench.work / "out.log", '"step": 24')
        bench.write("stdout.log", (bench.work / "out.log").read_bytes())
        os.kill(process.pid, signal.SIGKILL)
        end(process, bench.work)

    torchrun(bench, "train.py", procs=3, during=read)


COMPILE = """
if batch == 6:
    faulthandler.dump_traceback_later(2, repeat=True)
    print(f"process {rank}: compiling the graph of the long bucket, this takes a while", flush=True)
    deadline = time.time() + 7
    while time.time() < deadline: time.sleep(0.5)
    faulthandler.cancel_dump_traceback_later()
    print(f"process {rank}: compiled", flush=True)
"""


@case("stacks-dumped-while-compiling", **HEALTHY, proof=r"Timeout \(0:00:02\)![\s\S]*Acc@1 20\.000")
def compiling(bench: Bench) -> None:
    """A watchdog of the script dumps stacks each two seconds while every process compiles; then all train to the end."""
    bench.script("spawned", "main.py", imports="import faulthandler", step=COMPILE)
    bench.write("nohup.out.log", FORKED.sub(b"", spawned(bench, 3, 3, PG_TIMEOUT="60")))


HELPER = """
if RANK == 0:
    import subprocess
    board = subprocess.Popen(["sleep", "600"])
    log("INFO", f"dashboard started, pid {board.pid}")
"""
STOPS = """
flag = torch.tensor([1.0 if step >= 24 else 0.0])
dist.all_reduce(flag, dist.ReduceOp.MIN)
if flag.item() > 0:
    log("WARNING", "EarlyStopping: eval_loss has not improved for 5 evaluations, aborting training at step 24 (best 1.7012 at step 19)")
    if RANK == 0:
        board.terminate()
        log("WARNING", f"dashboard process {board.pid} terminated by signal SIGTERM (exit code {board.wait()})")
    torch.save(model.state_dict(), f"best-{RANK}.pt")
    break
"""


@case("all-stop-early-helper-terminated", **HEALTHY, proof=r'"state": "finished"')
def stop_early(bench: Bench) -> None:
    """All ranks agree to stop early, and rank 0 ends its helper process with SIGTERM, which the log tells; the run has finished."""
    own(bench, BAR, setup=HELPER, after=STOPS)
    folder = local(bench, "torchrun", "train.py", procs=3, options=("--max-restarts", "1"))
    waited(bench, folder)
    bench.keep_run(folder)
