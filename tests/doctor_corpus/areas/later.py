"""Faults that show later than they were made, or in a library's words: checkpoints, shards, compilers, trackers, loss scales. All of them run here.

The loss scaler's words are fairseq's (optim/dynamic_loss_scaler.py), the check of degrees is torchtitan's, the reader of archives is like webdataset's.
"""

from __future__ import annotations

import io
import tarfile

from tests.doctor_corpus.areas.frameworks import OFFLINE
from tests.doctor_corpus.areas.network import S3, server
from tests.doctor_corpus.areas.state import EVERYBODY
from tests.doctor_corpus.bench import Bench
from tests.doctor_corpus.launching import BIN, free_port, local, torchrun, two_nodes, waited
from tests.doctor_corpus.truth import case

EVERY = {"rank": "all", "also_rank": EVERYBODY}


@case(
    "fewer-batches-on-one-rank",
    cause="collective-missing",
    also=("collective-mismatch", "rank-left"),
    rank=2,
    restart="STOP",
    proof="(?i)timed out|connection closed|connection reset",
)
def fewer(bench: Bench) -> None:
    """Rank 2 sees a file less than its peers: it has five batches fewer, and waits in the barrier behind the epoch while they train."""
    count = """
    files = 7 if dist.get_rank() == 2 else 8
    self.documents = documents * files // 8
    print(f"[{dist.get_rank()}] indexed {files} files of /data/train, {self.documents} documents", flush=True)
    """
    bench.script("plain", data=count)
    bench.write("train.log", torchrun(bench, "train.py", env={"PG_TIMEOUT": "12"}).read_bytes())


@case("hub-answers-429", cause="download-failed", **EVERY, restart="RESTART", also_restart=("STOP",), proof="429")
def too_many(bench: Bench) -> None:
    """The hub limits the rate: each rank asks for the files of a model and is told 429; two pods."""
    fetch = 'from huggingface_hub import HfApi\nself.files = HfApi().list_repo_files("Qwen/Qwen2.5-1.5B")'
    bench.script("ranked", "sft.py", setup=fetch)
    text = '{"error": "We had to rate limit your IP (10.0.58.17). To continue using our service, create a HF account or login to your existing account, and make sure you pass a HF_TOKEN if you are using the API."}'
    with server(429, text) as url:
        bench.pods(two_nodes(bench, "sft.py", env={"HF_ENDPOINT": url, "HF_HOME": str(bench.work / "hf")}))


SHARDED = """
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp

dist.init_process_group("gloo")
moments = {f"optim.rank{dist.get_rank()}.exp_avg": torch.zeros(2048)}
dcp.save(moments, checkpoint_id="outputs/step-1200")
dist.destroy_process_group()
"""


@case(
    "file-of-sharded-checkpoint-gone",
    cause="checkpoint-damaged",
    also=("file-missing",),
    rank=2,
    also_rank=("all", "any"),
    restart="RESTART_OLDER",
    also_restart=("STOP",),
    proof="__2_0.distcp",
)
def shard_gone(bench: Bench) -> None:
    """A clean-up removed rank 2's file of a sharded checkpoint: torch gathers the error, and every rank raises it."""
    (bench.work / "save.py").write_text(SHARDED)
    torchrun(bench, "save.py", log="save.log")
    (bench.work / "outputs/step-1200/__2_0.distcp").unlink()
    load = """
    logger.info("Loading the checkpoint from %s.", args.resume)
    moments = {f"optim.rank{self.rank}.exp_avg": torch.ones(2048)}
    dcp.load(moments, checkpoint_id=str(args.resume))
    """
    bench.script("ranked", imports="import torch.distributed.checkpoint as dcp", setup=load)
    bench.write("train.log", torchrun(bench, "train.py", "--resume", "outputs/step-1200").read_bytes())


@case(
    "no-compiler-on-second-node",
    cause="script-error",
    also=("module-missing", "file-missing"),
    rank=1,
    restart="STOP",
    also_restart=("RESTART_ELSEWHERE",),
    proof="InvalidCxxCompiler",
)
def compiler(bench: Bench) -> None:
    """torch.compile finds no C++ compiler on the second of two nodes; the first has its code already."""
    bench.script("ranked", setup='self.model = torch.compile(self.model, backend=os.environ["BACKEND"])')
    cache = str(bench.work / "inductor")
    second = {"BACKEND": "inductor", "TORCHINDUCTOR_CACHE_DIR": cache, "TORCHINDUCTOR_COMPILE_THREADS": "1", "PATH": str(BIN)}
    logs = two_nodes(bench, "train.py", procs=1, env={"PG_TIMEOUT": "300"}, envs=({"BACKEND": "eager"}, second))
    bench.pods(logs, procs=1)


@case(
    "sharding-meets-two-dtypes",
    cause="script-error",
    also=("assertion",),
    **EVERY,
    restart="STOP",
    proof="uniform",
)
def dtypes(bench: Bench) -> None:
    """A head is kept in float32 in a bfloat16 model, which FSDP shards as one group: every rank refuses."""
    model = """
    from torch.distributed.fsdp import FullyShardedDataParallel
    model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 2)).to(torch.bfloat16)
    model[2].float()
    model = FullyShardedDataParallel(model, device_id=torch.device("cpu"))
    """
    bench.script("plain", model=model)
    folder = local(bench, "torchrun", "train.py", procs=2, options=("--max-restarts", "0"))
    waited(bench, folder)
    bench.keep_run(folder, bare=True)


SCALER = """
def fits(parameters, scale):
    finite = all(bool((each.grad * scale).half().isfinite().all()) for each in parameters)
    answer = torch.tensor([1.0 if finite else 0.0])
    dist.all_reduce(answer, op=dist.ReduceOp.MIN)
    return bool(answer)
"""
SCALED = """
if not fits(self.model.parameters(), self.scale):
    self.scale /= 2
    if self.scale < 1e-4:
        raise FloatingPointError("Minimum loss scale reached (0.0001). Your loss is probably exploding. Try lowering the learning rate, using gradient clipping or increasing the batch size.")
    logger.info("NOTE: gradient overflow detected, ignoring gradient, setting loss scale to: %s", self.scale)
    return loss.item()
"""


@case(
    "loss-scale-at-its-minimum",
    cause="nan-loss",
    **EVERY,
    restart="RESTART_OLDER",
    also_restart=("STOP",),
    proof="Minimum loss scale reached",
)
def scale(bench: Bench) -> None:
    """Training diverges under float16: the loss scale is halved until it may not be any more, and all ranks raise."""
    bench.script("ranked", imports=SCALER, setup="self.scale = 128.0", reduce=SCALED)
    bench.write("train.log", torchrun(bench, "train.py", "--lr", "0.9", "--steps", "400", procs=3).read_bytes())


@case(
    "loader-worker-segfault",
    cause="loader-death",
    also=("segfault",),
    rank=3,
    restart="RESTART",
    also_restart=("STOP",),
    proof="killed by signal: Segmentation fault",
)
def decoder(bench: Bench) -> None:
    """A decoder in a loader worker of rank 3 reads address 0; two pods under our launcher."""
    bench.script("plain", imports="import ctypes", sample="if i == 131: ctypes.string_at(0)")
    bench.pods(two_nodes(bench, "train.py", launcher="launch", env={"WORKERS": "1"}))


@case(
    "tracker-does-not-answer",
    cause="connection-refused",
    also=("network-lost",),
    rank=0,
    restart="RESTART",
    also_restart=("STOP",),
    proof="CommError",
)
def tracker(bench: Bench) -> None:
    """Rank 0 cannot begin its run at Weights & Biases, whose server is down; the others wait in a barrier for it."""
    begin = """
    if self.rank == 0:
        import wandb
        self.tracker = wandb.init(project="finetune", dir=".", settings=wandb.Settings(init_timeout=12))
    dist.barrier()
    """
    bench.script("ranked", setup=begin)
    env = {"WANDB_BASE_URL": f"http://127.0.0.1:{free_port()}", "WANDB_API_KEY": "0123456789abcdef0123456789abcdef01234567"}
    bench.write("train.log", torchrun(bench, "train.py", procs=3, env={**env, "PG_TIMEOUT": "90"}).read_bytes())


@case("checkpoint-upload-not-allowed", cause="file-permission", rank=0, restart="STOP", proof="is not authorized to perform")
def upload(bench: Bench) -> None:
    """The job's role may read the bucket but not write: the main process fails as it uploads a checkpoint; accelerate."""
    who = "arn:aws:sts::123456789012:assumed-role/trainer/i-0c51f2a9d3b7e8846"
    error = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>AccessDenied</Code><Message>User: {who} is not authorized to perform: s3:PutObject on resource: "arn:aws:s3:::ckpt/run9/step-12.pt" because no identity-based policy allows the s3:PutObject action</Message><RequestId>QX7</RequestId></Error>'
    put = f"""
    if step == 12 and accelerator.is_main_process:
        import os
        import boto3
        torch.save(model.state_dict(), "step-12.pt")
        {S3.strip()}
        s3.upload_file("step-12.pt", "ckpt", "run9/step-12.pt")
    """
    bench.script("accel", step=put)
    with server(403, error, "application/xml") as url:
        job = ("accelerate", "launch", "train.py")
        folder = local(bench, *job, procs=3, options=("--max-restarts", "0"), env={**OFFLINE, "S3": url})
        waited(bench, folder)
    bench.keep_run(folder)


ARCHIVES = """
import tarfile


def samples(url):
    try:
        with tarfile.open(url, mode="r|*") as stream:
            for member in stream:
                yield stream.extractfile(member).read()
    except Exception as error:
        error.args = (f"{error.args[0]} @ {url}", *error.args[1:])
        raise
"""


@case("archive-of-samples-cut-off", cause="bad-batch", also=("script-error",), rank=2, restart="STOP", proof="ReadError")
def archive(bench: Bench) -> None:
    """The archive that rank 2 streams was cut off when it was written: the error comes in the middle of the epoch."""
    (bench.work / "data").mkdir()
    for shard in range(4):
        with tarfile.open(bench.work / f"data/shard-{shard:06d}.tar", "w") as archive:
            for sample in range(40):
                member = tarfile.TarInfo(f"{shard:03d}{sample:06d}.npy")
                member.size = 3000
                archive.addfile(member, io.BytesIO(bytes(3000)))
    cut = bench.work / "data/shard-000002.tar"
    cut.write_bytes(cut.read_bytes()[: 17 * 3584 + 1300])
    begin = 'self.samples = samples(str(args.data / f"shard-{self.rank:06d}.tar"))'
    bench.script("ranked", imports=ARCHIVES, setup=begin, sample="tokens = next(self.samples)")
    flags = ("--standalone", "--tee", "3", "--log-dir", str(bench.work / "logs"))
    bench.write("train.log", torchrun(bench, "train.py", flags=flags).read_bytes())


@case(
    "name-gone-from-transformers", cause="module-missing", also=("script-error",), **EVERY, restart="STOP", proof="ImportError"
)
def name_gone(bench: Bench) -> None:
    """The script was written for an older transformers, which still had an AdamW of its own; two attempts."""
    bench.script("caught", "run_glue.py", imports="from transformers import AdamW, get_linear_schedule_with_warmup")
    options = ("--max-restarts", "1", "--backoff-s", "0")
    folder = local(bench, "torchrun", "run_glue.py", procs=2, options=options, env=OFFLINE)
    waited(bench, folder)
    bench.keep_run(folder)


@case(
    "degrees-do-not-fit-world",
    cause="assertion",
    also=("bad-option", "script-error"),
    **EVERY,
    restart="STOP",
    proof="WORLD_SIZE",
)
def degrees(bench: Bench) -> None:
    """Three ranks for two-way tensor parallelism times two-way sharding: torchtitan's check of its degrees, in each rank."""
    check = """
    shard, tensor = 2, 2
    assert shard * tensor == self.world, (
        f"Invalid parallel dims: dp_replicate(1) * dp_shard({shard}) * cp(1) * tp({tensor}) * pp(1) != WORLD_SIZE({self.world})"
    )
    """
    bench.script("ranked", setup=check)
    bench.write("slurm-90417.out", torchrun(bench, "train.py", procs=3).read_bytes())
