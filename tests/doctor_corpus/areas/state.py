"""Checkpoints that do not fit the model, or are damaged."""

from __future__ import annotations

from tests.doctor_corpus.bench import Bench
from tests.doctor_corpus.launching import local, torchrun, two_nodes, waited
from tests.doctor_corpus.truth import case

EVERYBODY = ("any", 0)
SAVED = 'torch.save({"model": model.state_dict(), "step": 500}, path)'


def trained(bench: Bench, name: str, hidden: int) -> None:
    """A checkpoint of the ranked trainer's model with another width, saved by torch in a forked Python."""
    code = f"import torch\nfrom torch import nn\nmodel = nn.Sequential(nn.Linear(16, {hidden}), nn.GELU(), nn.Linear({hidden}, 1))\npath = {name!r}\n{SAVED}\n"
    (bench.work / "save.py").write_text(code)
    torchrun(bench, "save.py", procs=1, log="save.log")


@case(
    "checkpoint-of-wider-model",
    cause="checkpoint-mismatch",
    rank="all",
    also_rank=EVERYBODY,
    restart="STOP",
    proof="size mismatch",
)
def wider(bench: Bench) -> None:
    """The checkpoint is one of a wider model: every rank refuses it, in each of two attempts."""
    trained(bench, "last.pt", 48)
    bench.script("ranked", setup='self.model.load_state_dict(torch.load(args.resume, weights_only=True)["model"])')
    folder = local(bench, "torchrun", "train.py", "--resume", "last.pt", options=("--max-restarts", "1", "--backoff-s", "0"))
    waited(bench, folder)
    bench.keep_run(folder)


@case(
    "checkpoint-keys-of-ddp",
    cause="checkpoint-mismatch",
    rank="all",
    also_rank=EVERYBODY,
    restart="STOP",
    proof=r"Missing key\(s\) in state_dict",
)
def other_keys(bench: Bench) -> None:
    """Saved without DDP's prefix `module.`, loaded into a DDP."""
    trained(bench, "epoch_3.pt", 32)
    bench.script("plain", model='state = torch.load("epoch_3.pt", map_location="cpu")\nmodel.load_state_dict(state["model"])')
    bench.write("train.log", torchrun(bench, "train.py").read_bytes())


@case(
    "checkpoint-truncated",
    cause="checkpoint-damaged",
    rank="all",
    also_rank=EVERYBODY,
    restart="RESTART_OLDER",
    proof="failed finding central directory|PytorchStreamReader",
)
def truncated(bench: Bench) -> None:
    """The newest checkpoint was cut off in the middle of its save; two pods."""
    trained(bench, "last.pt", 32)
    path = bench.work / "last.pt"
    path.write_bytes(path.read_bytes()[:-700])
    bench.script(
        "ranked", setup='if args.resume:\n    self.model.load_state_dict(torch.load(args.resume, map_location="cpu")["model"])'
    )
    bench.pods(two_nodes(bench, "train.py", "--resume", "last.pt"))


@case("checkpoint-shard-zeroed", cause="checkpoint-damaged", rank=3, restart="RESTART_OLDER", proof="SafetensorError|header")
def zeroed(bench: Bench) -> None:
    """The shard of rank 3 holds zeros: a disk lost its last writes."""
    save = "import torch\nfrom safetensors.torch import save_file\nfor rank in range(4):\n    save_file({'w': torch.ones(1000)}, f'shard-{rank}.safetensors')\n"
    (bench.work / "save.py").write_text(save)
    torchrun(bench, "save.py", procs=1, log="save.log")
    (bench.work / "shard-3.safetensors").write_bytes(bytes(4096))
    bench.script(
        "caught",
        imports="from safetensors.torch import load_file",
        setup='shard = load_file(f"shard-{RANK}.safetensors")\nreturn shard["w"].requires_grad_()',
        caught="import traceback\ntraceback.print_exc()",
    )
    bench.write("train.log", torchrun(bench, "train.py").read_bytes())
