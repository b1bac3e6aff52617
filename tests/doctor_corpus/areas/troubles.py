"""What ranks run out of, miss or cannot read; and troubles that a job gets over: slow starts, restarts, pauses, warnings, a damaged checkpoint."""

from __future__ import annotations

import pickle

from tests.doctor_corpus.areas.frameworks import OFFLINE
from tests.doctor_corpus.areas.healthy import HEALTHY
from tests.doctor_corpus.areas.peers import spawned
from tests.doctor_corpus.areas.signals import confine, kernel_lines, memory_limit
from tests.doctor_corpus.areas.state import EVERYBODY, trained
from tests.doctor_corpus.bench import Bench
from tests.doctor_corpus.launching import free_port, local, torchrun, two_nodes, waited
from tests.doctor_corpus.truth import case

AGAIN = ("RESTART_ELSEWHERE",)
DECODE = 'if i == 497: globals().setdefault("decoded", []).extend(torch.ones(32_000_000) for _ in range(64))'


@case(
    "loader-worker-out-of-memory",
    cause="host-oom",
    also=("loader-death",),
    rank=1,
    restart="RESTART",
    also_restart=("STOP", *AGAIN),
    proof="(?i)killed process",
)
def worker_oom(bench: Bench) -> None:
    """A loader worker of rank 1 decodes too large a sample: the kernel kills it at the cgroup's limit, and the rank raises."""
    bench.script("plain", sample=DECODE)
    with memory_limit(2000) as group:
        log = torchrun(bench, "train.py", env={"WORKERS": "1"}, during=lambda _: confine(bench, group)).read_bytes()
        bench.write("kernel.log", "\n".join(kernel_lines(group)) + "\n")
    bench.pods([log], procs=4)


@case(
    "open-files-leaked",
    cause="script-error",
    rank=2,
    restart="STOP",
    also_restart=("RESTART",),
    proof="Too many open files",
)
def open_files(bench: Bench) -> None:
    """Process 2 of a program without a launcher opens an index anew each time and never closes one: the limit of 96 is reached."""
    (bench.work / "index.json").write_text("{}")
    begin = "resource.setrlimit(resource.RLIMIT_NOFILE, (96, 96))\nhandles = []"
    leak = 'handles.extend(open("index.json") for _ in range(4 if rank == 2 else 1))'
    bench.script("spawned", "main.py", imports="import resource", begin=begin, step=leak)
    bench.write("nohup.out.log", spawned(bench, 4, 4))


@case("package-missing-for-rank-0", cause="module-missing", rank=0, restart="STOP", proof="ModuleNotFoundError")
def tracking(bench: Bench) -> None:
    """Rank 0 alone imports the package that tracks experiments, after three steps; two pods under our launcher."""
    track = 'if step == 3 and self.rank == 0:\n    import mlflow\n    mlflow.set_experiment("finetune")'
    bench.script("ranked", after=track)
    bench.pods(two_nodes(bench, "train.py", launcher="launch"))


@case(
    "optimizer-groups-differ",
    cause="checkpoint-mismatch",
    rank="all",
    also_rank=EVERYBODY,
    restart="STOP",
    proof="parameter group",
)
def groups(bench: Bench) -> None:
    """The weights fit, the optimizer was saved with two groups: no rank can load it, in either of two attempts."""
    code = """
    import torch
    from torch import nn
    model = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 1))
    decayed = [each for each in model.parameters() if each.dim() > 1]
    others = [each for each in model.parameters() if each.dim() == 1]
    optimizer = torch.optim.SGD([{"params": decayed, "weight_decay": 0.1}, {"params": others}], lr=1e-3)
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, "latest.ckpt")
    """
    (bench.work / "save.py").write_text("\n".join(line.strip() for line in code.splitlines()))
    torchrun(bench, "save.py", procs=1, log="save.log")
    load = 'state = torch.load(args.resume, weights_only=True)\nself.model.load_state_dict(state["model"])\nself.optimizer.load_state_dict(state["optimizer"])\nlogger.info("resumed from %s", args.resume)'
    bench.script("ranked", setup=load)
    job = ("torchrun", "train.py", "--resume", "latest.ckpt")
    folder = local(bench, *job, procs=3, options=("--max-restarts", "1", "--backoff-s", "0"))
    waited(bench, folder)
    bench.keep_run(folder)


@case(
    "optimizer-state-of-one-rank-empty",
    cause="checkpoint-damaged",
    rank=1,
    restart="RESTART_OLDER",
    also_restart=("STOP",),
    proof="EOFError: Ran out of input",
)
def empty_state(bench: Bench) -> None:
    """The file of rank 1's optimizer in the last checkpoint has no bytes: its node died before they were written."""
    folder = bench.work / "checkpoints" / "step_0004200"
    folder.mkdir(parents=True)
    for rank in range(4):
        (folder / f"optim_rank{rank}.pkl").write_bytes(pickle.dumps([0.0] * 64) if rank != 1 else b"")
    load = 'path = Path("checkpoints/step_0004200") / f"optim_rank{self.rank}.pkl"\nlogger.info("loading %s", path)\nwith path.open("rb") as file: self.moments = pickle.load(file)'
    bench.script("ranked", imports="import pickle", setup=load)
    bench.write("job.log", torchrun(bench, "train.py").read_bytes())


@case(
    "loss-diverges-and-stops",
    cause="nan-loss",
    rank="all",
    also_rank=("any", 0, 1, 2, 3),
    restart="RESTART_OLDER",
    also_restart=("STOP",),
    proof="Loss is (nan|inf), stopping training",
)
def diverges(bench: Bench) -> None:
    """The rate grows by mistake, the loss runs away, and each rank leaves with 1 after one line; two pods."""
    grow = 'if step > 10:\n    for group in self.optimizer.param_groups: group["lr"] *= 30'
    stop = 'if not math.isfinite(loss):\n    print(f"Loss is {loss}, stopping training", flush=True)\n    sys.exit(1)'
    bench.script("ranked", imports="import math", loop=grow, after=stop)
    bench.pods(two_nodes(bench, "train.py"))


LATE = """
for second in range(24):
    if rank == 0 and second % 2 == 0:
        print(f"reading shard {second // 2 + 1}/12 from cold storage", flush=True)
    if rank != 0 and second % 4 == rank:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError as error:
            print(f"process {rank}: no store at 127.0.0.1:{port} after {second} s: {error}, trying again", file=sys.stderr)
    time.sleep(1)
"""


@case("first-rank-starts-late", **HEALTHY, proof=r"Acc@1 20\.000")
def starts_late(bench: Bench) -> None:
    """Process 0, which has the store, reads its shards for 20 s; the others are refused until it listens; then all train to the end."""
    bench.script("spawned", "main.py", imports="import socket", begin=LATE)
    bench.write("nohup.out.log", spawned(bench, 4, 4, PG_TIMEOUT="120"))


@case("killed-once-then-finished", **HEALTHY, proof='"state": "finished"')
def finished_again(bench: Bench) -> None:
    """Rank 1 is killed in the first attempt; the second goes on from a checkpoint and finishes the run."""
    kill = 'import os\nif step == 22 and world.rank == 1 and os.environ["TRAINYARD_ATTEMPT"] == "0": os.kill(os.getpid(), 9)'
    bench.script("yard", loop=kill)
    env = {"TRAINYARD_ROLLING_STEPS": "5"}
    folder = local(bench, "torchrun", "train.py", procs=3, options=("--max-restarts", "2", "--backoff-s", "0"), env=env)
    waited(bench, folder)
    bench.keep_run(folder)


EVALUATE = """
if step == 15:
    if self.rank == 0:
        logger.info("evaluating on 4096 documents")
        time.sleep(26)
        logger.info("evaluation done: perplexity 31.20")
    arrived = dist.barrier(async_op=True)
    waiting = 0
    while not arrived.is_completed():
        time.sleep(1)
        waiting += 1
        if waiting % 8 == 0:
            logger.warning("no progress for %d s: waiting for rank 0 in a barrier, is it stuck?", waiting)
"""


@case("long-evaluation-was-over", **HEALTHY, proof="is it stuck")
def evaluation(bench: Bench) -> None:
    """Rank 0 evaluates for 26 s, the others wait and warn; then the job goes on to its end; two pods."""
    bench.script("ranked", loop=EVALUATE)
    bench.pods(two_nodes(bench, "train.py", launcher="launch", env={"PG_TIMEOUT": "120"}))


NOISE = """
import sys, warnings
warnings.simplefilter("always")
for _ in range(40):
    warnings.warn("NaN or Inf found in input tensor.", stacklevel=1)
    warnings.warn("An output with one or more elements was resized since it had shape [8], which does not match the required output shape [8, 1].", UserWarning, stacklevel=1)
    print(f"[rank{self.global_rank}]:[W1127 10:01:12.118 ProcessGroupGloo.cpp:741] Warning: Unable to resolve hostname to a (local) address. Using the loopback address as fallback.", file=sys.stderr)
print(f"rank {self.global_rank}: gradient norm inf at batch {batch_index}, update skipped, loss scale 32768.0 -> 16384.0", file=sys.stderr)
"""


@case("warnings-in-masses", **HEALTHY, proof="max_epochs=1` reached")
def noisy(bench: Bench) -> None:
    """Thousands of warnings about NaN, shapes and host names under Lightning, which trains its epoch to the end."""
    bench.script("lit", step=NOISE)
    folder = local(bench, "torchrun", "train.py", procs=2, options=("--max-restarts", "0"), env=OFFLINE)
    waited(bench, folder)
    bench.keep_run(folder)


FALL_BACK = """
for path in ("step-60.pt", "step-40.pt"):
    try:
        self.model.load_state_dict(torch.load(path, weights_only=True)["model"])
    except Exception:
        logger.exception("cannot load %s, trying the one before it", path)
        continue
    logger.info("resumed from %s", path)
    break
"""
UPLOAD = """
if step % 10 == 0 and self.rank == 0:
    try:
        s3.put_object(Bucket="runs", Key=f"metrics/{step}.json", Body=b"{}")
    except Exception:
        logger.exception("upload of the metrics of step %d failed, kept on the local disk", step)
"""
CLIENT = """
import boto3
import boto3.session

told = {"region_name": "us-west-2", "aws_access_key_id": "AKIAEXAMPLE", "aws_secret_access_key": "x"}
once = boto3.session.Config(retries={"total_max_attempts": 1})
s3 = boto3.client("s3", endpoint_url=os.environ["S3"], config=once, **told)
"""


@case("older-checkpoint-taken", **HEALTHY, proof="resumed from step-40")
def fell_back(bench: Bench) -> None:
    """The newest checkpoint is cut short: each rank logs that with its traceback, takes the one before, and finishes; uploads fail the whole time."""
    for name in ("step-40.pt", "step-60.pt"):
        trained(bench, name, 32)
    path = bench.work / "step-60.pt"
    path.write_bytes(path.read_bytes()[:-900])
    bench.script("ranked", imports=CLIENT, setup=FALL_BACK, after=UPLOAD)
    bench.write("train.log", torchrun(bench, "train.py", env={"S3": f"http://127.0.0.1:{free_port()}"}).read_bytes())
