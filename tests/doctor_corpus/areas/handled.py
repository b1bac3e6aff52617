"""Jobs with nothing to find whose logs are full of errors: other people's log formats, restarts that worked, pauses, noise at exit.

The words of the two that do not run here: PyTorch's and NCCL's own messages, kubernetes/node-problem-detector (SystemOOM).
"""

from __future__ import annotations

import os
import signal
import subprocess

from tests.doctor_corpus.areas.healthy import HEALTHY
from tests.doctor_corpus.areas.peers import spawned
from tests.doctor_corpus.bench import Bench
from tests.doctor_corpus.kube import Fleet
from tests.doctor_corpus.launching import end, torchrun, two_nodes, when_log_has
from tests.doctor_corpus.truth import case

LOGURU = """
class Pretty(logging.Formatter):
    def format(self, record):
        when = time.strftime("%Y-%m-%d %H:%M:%S")
        where = f"{record.module}:{record.funcName}:{record.lineno}"
        text = f"{when}.{int(record.msecs):03d} | {record.levelname:<8} | {where} - {record.getMessage()}"
        return text + ("\\n" + self.formatException(record.exc_info).replace("  File", "> File") if record.exc_info else "")
for handler in logging.getLogger().handlers: handler.setFormatter(Pretty())
"""
CAUGHT = """
try:
    if step == 6: raise ConnectionResetError(104, "Connection reset by peer")
    if step == 11: assert 31 == 32, "tokens and labels differ in length"
    if step == 17: raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.50 GiB.")
    if step == 23: raise RuntimeError("NCCL error: unhandled system error (run with NCCL_DEBUG=INFO for details)")
except ConnectionResetError:
    logger.exception("tracker: cannot send metrics, %d points are buffered", 40)
except AssertionError:
    logger.exception("sample 88412 is put aside")
except torch.OutOfMemoryError:
    logger.exception("the benchmark of micro batch 16 does not fit, 8 is kept")
except RuntimeError as error:
    logger.critical("the probe of the fast path failed (%s): the slow path is used from now on", error)
"""


@case("loguru-style-errors", **HEALTHY, proof=r"\| ERROR    \|")
def loguru(bench: Bench) -> None:
    """A log in loguru's format in which each rank tells caught exceptions, one of them as critical; two pods finish."""
    bench.script("ranked", main=LOGURU, loop=CAUGHT)
    bench.pods(two_nodes(bench, "train.py"))


ABSL = """
try:
    if batch == 5 and rank == 2: socket.create_connection(("127.0.0.1", 9), timeout=1)
    if batch == 13: torch.load("ema.pt")
    if batch == 21: [].pop()
except OSError:
    traceback.print_exc()
    logging.warning("going on without it")
except IndexError:
    print(f"process {rank}: Exception in callback on_batch_end, callback disabled:")
    traceback.print_exc()
if batch == 30 and rank == 0: logging.error("val_auc is nan: only one class is present in this slice")
"""


@case("absl-and-print-exc", **HEALTHY, proof=r"IndexError[\s\S]*Acc@1 20\.000")
def absl(bench: Bench) -> None:
    """Four processes without a launcher print tracebacks of what they caught, between lines of absl; then the result."""
    bench.script("spawned", "main.py", imports="import socket, traceback\nfrom absl import logging", step=ABSL)
    bench.write("nohup.out.log", spawned(bench, 4, 4))


LEAK = """
import atexit
from multiprocessing import shared_memory
kept = shared_memory.SharedMemory(create=True, size=4096)
class Session:
    def __del__(self): raise RuntimeError("Event loop is closed")
session = Session()
atexit.register(lambda: [][0])
"""


@case("noise-at-exit", **HEALTHY, proof=r"training done[\s\S]*leaked shared_memory")
def at_exit(bench: Bench) -> None:
    """The job is done; then destructors and exit handlers raise, and shared memory is reported as leaked. Exit code 0."""
    bench.script("plain", end=LEAK)
    bench.write("train.log", torchrun(bench, "train.py", procs=3).read_bytes())


RESUME = """
if os.path.exists("last.pt"):
    self.model.load_state_dict(torch.load("last.pt"))
    logger.info("resumed from last.pt, step 9")
"""
TERMINATED = """
if step == 9 and self.rank == 0: torch.save(self.model.state_dict(), "last.pt")
if step == 12 and self.rank == 1 and os.environ["TRY"] == "1":
    logger.warning("spot interruption notice: this instance will be reclaimed")
    os.kill(os.getpid(), 15)
"""


@case(
    "loop-started-again-and-finished",
    **HEALTHY,
    proof=r"Signal 15[\s\S]*resumed from last\.pt[\s\S]*run\.sh: try 2 ended with 0",
)
def started_again(bench: Bench) -> None:
    """A rank is terminated as its instance is reclaimed; a loop in the user's shell script starts the job again, which resumes and finishes."""
    bench.script("ranked", setup=RESUME, loop=TERMINATED)
    for attempt, code in ((1, 1), (2, 0)):
        with (bench.work / "out.log").open("a") as log:
            log.write(f"run.sh: try {attempt} of 5\n")
        path = torchrun(bench, "train.py", procs=3, env={"TRY": str(attempt)})
        with path.open("a") as log:
            log.write(f"run.sh: try {attempt} ended with {code}\n")
    bench.write("train.log", path.read_bytes())


SHARDS = """
if step == 15:
    if self.rank == 0:
        for shard in range(1, 13):
            logger.info("saving checkpoint of step 14: shard %d of 12, 4.7 GB", shard)
            time.sleep(0.8)
    dist.barrier()
"""


@case("read-during-a-save", **HEALTHY, also=("unknown",), proof="shard 6 of 12")
def saving(bench: Bench) -> None:
    """The evidence was collected while rank 0 wrote a checkpoint and the others waited for it."""
    bench.script("ranked", loop=SHARDS)

    def read(process: subprocess.Popen[bytes]) -> None:
        when_log_has(bench.work / "out.log", "shard 6 of 12")
        bench.pods([(bench.work / "out.log").read_bytes()], procs=3)
        os.kill(process.pid, signal.SIGKILL)
        end(process, bench.work)

    torchrun(bench, "train.py", procs=3, during=read)


@case("long-start-then-steps", **HEALTHY, real=False, proof="SystemOOM")
def long_start(bench: Bench) -> None:
    """Compilers and NCCL take 20 minutes before the first step, with warnings; a database on the second node meets its memory limit."""
    fleet = Fleet(bench, seed=72)
    fleet.start()
    fleet.to_all(
        "W1127 09:21:44.018000 {local} torch/_dynamo/convert_frame.py:906] [7/8] torch._dynamo hit config.recompile_limit (8)",
        "W1127 09:23:10.551000 {local} torch/_inductor/utils.py:1137] [0/0] Not enough SMs to use max_autotune_gemm mode",
        "[rank{rank}]:[W1127 09:33:50.771 ProcessGroupNCCL.cpp:1250] Warning: using GPU {local} to perform barrier as devices used by this process are currently unknown. This can potentially cause a hang if this rank to GPU mapping is incorrect.",
    )
    fleet.say(
        0,
        "AUTOTUNE mm(8192x4096, 4096x14336)",
        "  triton_mm_17 0.9124 ms 100.0%",
        "Runtime error during autotuning: OutOfResources: shared memory, Required: 262144, Hardware limit: 232448. Ignoring this choice.",
        "[rank0]:[W1127 09:34:02.118 HeartbeatMonitor.cpp:163] first collective took 694 s, communicators are being set up",
    )
    fleet.steps(last=90)
    text = "System OOM encountered, victim process: postgres, pid: 88123"
    fleet.event(1, "SystemOOM", text, kind="Node", source="kernel-monitor", after=3900)
    fleet.event("tenant-b-postgres-0", "BackOff", "Back-off restarting failed container postgres in pod", after=3960, count=9)
    fleet.write()


@case("finished-with-nccl-warnings", **HEALTHY, real=False, proof="Succeeded")
def finished(bench: Bench) -> None:
    """Both pods have succeeded; their logs end with the warnings of process groups that nobody destroyed and a profiler that failed."""
    fleet = Fleet(bench, seed=73)
    fleet.start()
    fleet.steps(last=70)
    fleet.say(0, "saved checkpoint-final (8 files) in 41.3 s", "training finished after 70 iterations")
    fleet.to_all(
        "[rank{rank}]:[W1127 11:13:02.518 ProcessGroupNCCL.cpp:1479] Warning: WARNING: destroy_process_group() was not called before program exit, which can leak resources. For more info, please see https://pytorch.org/docs/stable/distributed.html#shutdown (function operator())",
        "[rank{rank}]:[W1127 11:13:03.102 TCPStore.cpp:125] [c10d] recvValue failed on SocketImpl(fd=65, addr=[llama-8b-worker-0]:48212, remote=[llama-8b-master-0]:23456): failed to recv, got 0 bytes",
        "Exception ignored in: <function Profiler.__del__ at 0x7f0a1c0d3b50>",
        "RuntimeError: CUPTI_ERROR_NOT_INITIALIZED",
    )
    for i in (0, 1):
        fleet.ended(i, 0, "Completed", after=7140)
    fleet.job_condition("Succeeded", "PyTorchJobSucceeded", "PyTorchJob llama-8b successfully completed.")
    fleet.write()
