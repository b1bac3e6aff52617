"""Errors that come from deep inside other people's libraries, and configurations that do not fit: image readers, tokenizers, databases, parsers, samplers.

Trainers that log JSON lines (`LINES`) or in loguru's layout with a tqdm bar (`BAR`). All of them run here.
"""

from __future__ import annotations

import io
import os
import sqlite3
import subprocess
import textwrap

from tests.doctor_corpus.areas.data import mounted
from tests.doctor_corpus.areas.frameworks import OFFLINE
from tests.doctor_corpus.areas.peers import spawned
from tests.doctor_corpus.areas.state import EVERYBODY
from tests.doctor_corpus.bench import HOLE, Bench
from tests.doctor_corpus.launching import local, torchrun, two_nodes, waited
from tests.doctor_corpus.truth import case

AGAIN, AWAY = ("RESTART",), ("RESTART_ELSEWHERE",)
EVERY = {"rank": "all", "also_rank": (*EVERYBODY, 1, 2)}

LINES = """
import datetime
import json
import os
import sys
import time

import torch
import torch.distributed as dist
from torch import nn
from torch.utils.data import DataLoader, Dataset

# <imports>

RANK, WORLD = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])


def emit(event, level="info", **fields):
    when = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
    print(json.dumps({"ts": when, "level": level, "rank": RANK, "event": event, **fields}), flush=True)


class Frames(Dataset):
    def __len__(self):
        return 80 * WORLD

    def __getitem__(self, i):
        # <sample>
        return torch.randn(24, generator=torch.Generator().manual_seed(i))


def train():
    patience = float(os.environ.get("LOADER_TIMEOUT", "0"))
    mine = range(RANK, 80 * WORLD, WORLD)
    loader = DataLoader(Frames(), batch_size=2, sampler=mine, num_workers=int(os.environ.get("WORKERS", "0")), timeout=patience)
    model = nn.Sequential(nn.Linear(24, 24), nn.SiLU(), nn.Linear(24, 24))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    # <setup>
    for step, x in enumerate(loader, 1):
        began = time.monotonic()
        # <step>
        loss = (model(x) - x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        compute = time.monotonic() - began
        for parameter in model.parameters():
            dist.all_reduce(parameter.grad, dist.ReduceOp.SUM)
            parameter.grad /= WORLD
        optimizer.step()
        emit("train_step", step=step, loss=round(loss.item(), 5), compute_ms=round(1000 * compute, 1), step_ms=round(1000 * (time.monotonic() - began), 1))
        # <after>
        time.sleep(0.02)


if __name__ == "__main__":
    limit = datetime.timedelta(seconds=int(os.environ.get("PG_TIMEOUT", "20")))
    dist.init_process_group("gloo", timeout=limit)
    emit("process_group_ready", world_size=WORLD, pid=os.getpid(), torch=torch.__version__.split("+")[0])
    train()
    emit("train_end", status="ok")
    dist.destroy_process_group()
"""

BAR = """
import os
import sys
import time
from datetime import datetime, timedelta

import torch
import torch.distributed as dist
from torch import nn
from tqdm import tqdm

# <imports>

RANK, WORLD = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])


def log(level, text):
    frame = sys._getframe(1)
    when = datetime.now().strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    sys.stderr.write(f"{when} | {level:<8} | rank{RANK} | {__name__}:{frame.f_code.co_name}:{frame.f_lineno} - {text}\\n")


def synchronize(model):
    for parameter in model.parameters():
        dist.all_reduce(parameter.grad)
        parameter.grad.div_(WORLD)


def main():
    log("INFO", f"Python {sys.version.split()[0]}, torch {torch.__version__}, pid {os.getpid()}")
    # <config>
    dist.init_process_group("gloo", timeout=timedelta(seconds=int(os.environ.get("PG_TIMEOUT", "20"))))
    log("DEBUG", f"joined a group of {WORLD}")
    torch.manual_seed(11)
    model = nn.Sequential(nn.Linear(12, 48), nn.Tanh(), nn.Linear(48, 6))
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    # <setup>
    bar = tqdm(range(1, 41), desc="sft", disable=RANK != 0, mininterval=0.3)
    for step in bar:
        x = torch.randn(16, 12, generator=torch.Generator().manual_seed(1000 * RANK + step))
        # <step>
        loss = nn.functional.cross_entropy(model(x), x.argmax(1) % 6)
        # <loss>
        optimizer.zero_grad()
        loss.backward()
        synchronize(model)
        optimizer.step()
        bar.set_postfix(loss=f"{loss.item():.4f}")
        if step % 4 == 0:
            log("INFO", f"step {step}/40 loss {loss.item():.4f}")
        # <after>
        time.sleep(0.02)
    log("SUCCESS", "training complete")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
"""


def own(bench: Bench, text: str, name: str = "train.py", **holes: str) -> None:
    """A trainer of this file with its holes filled in."""

    def fill(match: object) -> str:
        code = textwrap.dedent(holes.pop(match["name"], "")).strip("\n")  # type: ignore[index]
        return textwrap.indent(code, match["indent"]) + "\n" if code else ""  # type: ignore[index]

    done = HOLE.sub(fill, text.lstrip("\n"))
    if holes:
        raise ValueError(f"no hole for {sorted(holes)}")
    (bench.work / name).write_text(done)


@case(
    "tokenizer-path-of-another-image",
    cause="file-missing",
    **EVERY,
    restart="STOP",
    proof=r"No such file or directory \(os error 2\)",
)
def tokenizer(bench: Bench) -> None:
    """accelerate launch: the tokenizer is not where the configuration says, and the error is one of Rust's."""
    load = (
        'log("INFO", "loading the tokenizer")\ntokenizer = Tokenizer.from_file("/models/llama-3.2-1b-instruct/tokenizer.json")'
    )
    own(bench, BAR, imports="from tokenizers import Tokenizer", config=load)
    folder = local(bench, "accelerate", "launch", "train.py", procs=3, options=("--max-restarts", "0"), env=OFFLINE)
    waited(bench, folder)
    bench.keep_run(folder)


READ = """
name = "frames/camera-07.jpg" if i == 29 else "frames/camera-06.jpg"
with Image.open(name) as image:
    image.convert("L").resize((6, 4))
"""


@case(
    "photo-cut-off",
    cause="bad-batch",
    also=("script-error",),
    rank=2,
    restart="STOP",
    proof="image file is truncated",
)
def photo(bench: Bench) -> None:
    """A photo of the data set was only half copied: Pillow raises in the loader worker of rank 2; log of JSON lines."""
    from PIL import Image

    (bench.work / "frames").mkdir()
    whole = io.BytesIO()
    Image.frombytes("RGB", (96, 96), os.urandom(96 * 96 * 3)).save(whole, "JPEG")
    (bench.work / "frames/camera-06.jpg").write_bytes(whole.getvalue())
    (bench.work / "frames/camera-07.jpg").write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    own(bench, LINES, imports="from PIL import Image", sample=READ)
    bench.write("stdout.jsonl.log", torchrun(bench, "train.py", procs=3, env={"WORKERS": "1"}).read_bytes())


RECORD = """
if step == 14 and RANK == 0:
    with sqlite3.connect("tracking/runs.db") as database:
        database.execute("INSERT INTO metrics VALUES (?, ?, ?)", ("run-0142", step, loss.item()))
"""


@case("run-database-read-only", cause="file-permission", rank=0, restart="STOP", proof="attempt to write a readonly database")
def database(bench: Bench) -> None:
    """Rank 0 writes its metrics to a SQLite file whose disk is mounted read-only; the others lose it."""
    tracking = bench.work / "tracking"
    with mounted(tracking, "size=1m"):
        with sqlite3.connect(tracking / "runs.db") as runs:
            runs.execute("CREATE TABLE metrics (run TEXT, step INTEGER, value REAL)")
        runs.close()
        subprocess.run(["mount", "-o", "remount,ro", str(tracking)], check=True, timeout=30)
        own(bench, BAR, imports="import sqlite3", after=RECORD)
        bench.write("sft.log", torchrun(bench, "train.py", procs=4).read_bytes())


CONFIG = """
with open("sft.yaml") as file:
    config = yaml.safe_load(file)
print(f"[proc {rank}] sft.yaml: {config}", flush=True)
net = nn.Linear(64, 8)
sgd = torch.optim.AdamW(net.parameters(), lr=config["optimizer"]["lr"], weight_decay=config["optimizer"]["weight_decay"])
"""


@case(
    "rate-of-yaml-is-a-word",
    cause="script-error",
    also=("bad-option",),
    rank="all",
    also_rank=(*EVERYBODY, 1, 2),
    restart="STOP",
    proof="'<=' not supported between instances of 'float' and 'str'",
)
def yaml_word(bench: Bench) -> None:
    """YAML reads 3e-4 as a word: the optimizer refuses it in every process of torch.multiprocessing, of which one is shown."""
    (bench.work / "sft.yaml").write_text("model: tiny\noptimizer:\n  lr: 3e-4\n  weight_decay: 0.01\nbatch_size: 16\n")
    bench.script("spawned", "main.py", imports="import yaml", begin=CONFIG)
    bench.write("main.log", spawned(bench, 3, 3))


SCHEMA = """
class Optim(BaseModel, extra="forbid"):
    lr: float = 1e-4
    warmup_steps: int = 0


class Config(BaseModel, extra="forbid"):
    model: str
    gradient_accumulation_steps: int = 1
    optim: Optim = Optim()
"""


@case(
    "unknown-key-in-configuration",
    cause="bad-option",
    also=("script-error",),
    **EVERY,
    restart="STOP",
    proof="Extra inputs are not permitted",
)
def unknown_key(bench: Bench) -> None:
    """A key of the configuration is misspelt, and pydantic forbids it in each rank."""
    (bench.work / "run.yaml").write_text(
        "model: qwen2.5-0.5b\ngradient_acumulation_steps: 8\noptim:\n  lr: 2.0e-5\n  warmup_steps: a few\n"
    )
    read = 'config = Config.model_validate(yaml.safe_load(open("run.yaml")))\nlog("INFO", f"{config}")'
    own(bench, BAR, imports="import yaml\nfrom pydantic import BaseModel\n" + SCHEMA, config=read)
    bench.write("job-88121.log", torchrun(bench, "train.py", procs=2).read_bytes())


BOXES = """
from rich.console import Console
from rich.traceback import Traceback


def boxed(kind, error, trace):
    # From this file on: what starts it is no part of the job.
    while trace.tb_next and trace.tb_frame.f_code.co_filename != __file__:
        trace = trace.tb_next
    Console(stderr=True, width=110).print(Traceback.from_exception(kind, error, trace))


sys.excepthook = boxed
"""


@case(
    "variable-unset-on-second-node",
    cause="script-error",
    also=("bad-option",),
    rank=2,
    also_rank=(3, "any"),
    restart="STOP",
    proof="KeyError: '?CORPUS_VERSION",
)
def variable(bench: Bench) -> None:
    """An environment variable is set on the first of two nodes only; tracebacks are rich's boxes."""
    bench.script("ranked", imports=BOXES, setup='self.corpus = "s3://corpus/" + os.environ["CORPUS_VERSION"]')
    bench.pods(two_nodes(bench, "train.py", envs=({"CORPUS_VERSION": "2026-10"}, {}), env={"COLUMNS": "120"}))


SHARDED = """
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn

dist.init_process_group("gloo")
model = nn.Sequential(nn.Linear(24, 24), nn.SiLU(), nn.Linear(24, 24))
dcp.save({"model": model.state_dict()}, checkpoint_id="ckpt/step-00009000")
dist.destroy_process_group()
"""
DEEPER = """
model = nn.Sequential(nn.Linear(24, 24), nn.SiLU(), nn.Linear(24, 24), nn.SiLU(), nn.Linear(24, 24))
emit("resume", path="ckpt/step-00009000", layers=3)
dcp.load({"model": model.state_dict()}, checkpoint_id="ckpt/step-00009000")
"""


@case(
    "sharded-checkpoint-of-shallower-model",
    cause="checkpoint-mismatch",
    **EVERY,
    restart="STOP",
    proof="Missing key in checkpoint state_dict",
)
def shallower(bench: Bench) -> None:
    """torch's sharded checkpoint is of a model with a layer less: the planner misses keys, on every rank."""
    (bench.work / "save.py").write_text(SHARDED)
    torchrun(bench, "save.py", procs=2, log="save.log")
    own(bench, LINES, imports="import torch.distributed.checkpoint as dcp", setup=DEEPER)
    bench.write("stdout.log", torchrun(bench, "train.py", procs=3).read_bytes())


@case(
    "loader-worker-answers-no-more",
    cause="loader-death",
    also=("rank-stuck", "storage-unreachable"),
    rank=2,
    restart="RESTART",
    also_restart=("STOP", *AWAY),
    proof="DataLoader timed out after 6",
)
def answers_no_more(bench: Bench) -> None:
    """A loader worker of rank 2 waits for a file for ever; the loader of that rank gives up after six seconds."""
    os.mkfifo(bench.work / "part-00047.bin")
    own(bench, LINES, sample='if i == 47: open("part-00047.bin", "rb").read()')
    env = {"WORKERS": "1", "LOADER_TIMEOUT": "6", "PG_TIMEOUT": "40"}
    bench.pods([torchrun(bench, "train.py", procs=3, env=env).read_bytes()], procs=3)


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 2471645608\n"
PRETRAINED = """
path = Path("pretrained/pytorch_model.bin")
if self.rank == 0:
    logger.info("initializing from %s (%d bytes)", path, path.stat().st_size)
    self.model.load_state_dict(torch.load(path, map_location="cpu"))
for parameter in self.model.parameters():
    dist.broadcast(parameter.data, 0)
"""


@case(
    "weights-are-a-pointer-of-git-lfs",
    cause="checkpoint-damaged",
    also=("file-missing",),
    rank=0,
    restart="STOP",
    also_restart=("RESTART_OLDER",),
    proof="Unsupported operand 118|invalid load key, 'v'",
)
def pointer(bench: Bench) -> None:
    """The repository of the model was cloned without its large files: rank 0 reads a pointer of Git LFS; the others wait for its broadcast."""
    (bench.work / "pretrained").mkdir()
    (bench.work / "pretrained/pytorch_model.bin").write_text(POINTER)
    bench.script("ranked", setup=PRETRAINED)
    bench.pods(two_nodes(bench, "train.py", launcher="launch"))


ADVANTAGE = """
reward = (x.sum(1) > 0).float() if not (RANK == 1 and step == 18) else torch.ones(len(x))
probabilities = model(x).softmax(1)
action = torch.multinomial(probabilities, 1)
advantage = (reward - reward.mean()) / reward.std()
if step % 3 == 0:
    log("INFO", f"rollout {step}: reward_mean={reward.mean():.3f} reward_std={reward.std():.3f} advantage_max={advantage.max():.3f}")
"""
POLICY = 'loss = -(probabilities.gather(1, action).log().squeeze(1) * advantage).mean()\nif step % 3 == 0: log("INFO", f"rollout {step}: policy_loss={loss.item():.4f}")'


@case(
    "rewards-all-the-same",
    cause="nan-loss",
    also=("bad-batch",),
    rank=1,
    also_rank=("all", "any", 0, 2),
    restart="RESTART_OLDER",
    also_restart=("STOP",),
    proof="probability tensor contains either",
)
def rewards(bench: Bench) -> None:
    """All rewards of rank 1 are equal in a rollout, their deviation is zero, the advantage NaN; after the reduction no rank can sample any more."""
    own(bench, BAR, step=ADVANTAGE, loss=POLICY)
    bench.write("ppo.log", torchrun(bench, "train.py", procs=3).read_bytes())
