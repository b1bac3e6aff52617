"""The same kinds of faults under other people's trainers: accelerate, transformers, Lightning."""

from __future__ import annotations

from tests.doctor_corpus.bench import Bench
from tests.doctor_corpus.launching import local, torchrun, waited
from tests.doctor_corpus.truth import case

OFFLINE = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "ACCELERATE_USE_CPU": "true"}


@case("accelerate-indexerror", cause="script-error", rank=1, restart="STOP", also_restart=("RESTART",), proof="IndexError")
def accelerate(bench: Bench) -> None:
    """accelerate launch; a label of rank 1's batch is outside of the classes."""
    bench.script("accel", step="if step == 9 and accelerator.process_index == 1: y = y + 5")
    folder = local(bench, "accelerate", "launch", "train.py", procs=2, options=("--max-restarts", "0"), env=OFFLINE)
    waited(bench, folder)
    bench.keep_run(folder)


@case(
    "trainer-bad-label",
    cause="script-error",
    also=("bad-batch",),
    rank=1,
    restart="STOP",
    also_restart=("RESTART",),
    proof="ValueError",
)
def transformers(bench: Bench) -> None:
    """transformers' Trainer; the collator refuses a sample of rank 1."""
    bench.script(
        "hf",
        sample='self.seen = getattr(self, "seen", 0) + 1\nif self.seen > 41 and torch.distributed.get_rank() == 1: raise ValueError(f"sample {i}: tokens and labels differ in length: 31 and 32")',
    )
    bench.write("train.log", torchrun(bench, "train.py", procs=2, env=OFFLINE).read_bytes())


@case(
    "lightning-nan-check",
    cause="nan-loss",
    rank="all",
    also_rank=("any", 0, 1),
    restart="RESTART_OLDER",
    also_restart=("STOP",),
    proof="(?i)nan",
)
def lightning(bench: Bench) -> None:
    """Lightning under local-runner: detect_anomaly finds NaN in the backward of every rank."""
    bench.script("lit", step='if batch_index == 6: loss = loss * float("nan")')
    folder = local(bench, "torchrun", "train.py", procs=2, options=("--max-restarts", "0"), env=OFFLINE)
    waited(bench, folder)
    bench.keep_run(folder)
