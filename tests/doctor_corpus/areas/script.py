"""Faults of the training program itself: an exception, an assertion, wrong words, what is missing."""

from __future__ import annotations

from tests.doctor_corpus.bench import Bench
from tests.doctor_corpus.launching import local, torchrun, two_nodes, waited
from tests.doctor_corpus.truth import case


@case("script-keyerror-one-rank", cause="script-error", rank=2, restart="STOP", also_restart=("RESTART",), proof="KeyError")
def keyerror(bench: Bench) -> None:
    """Rank 2 misses a key in the middle of training; the others lose their peer."""
    bench.script(
        "plain",
        data='self.lengths = {f"doc-{i:05d}": 32 for i in range(documents) if i != 86}',
        sample='assert self.lengths[f"doc-{i:05d}"] == 32',
    )
    bench.write("train.log", torchrun(bench, "train.py").read_bytes())


@case("script-typeerror-all", cause="script-error", rank="all", also_rank=("any",), restart="STOP", proof="TypeError")
def typeerror(bench: Bench) -> None:
    """Every rank calls the loss with a wrong keyword, before the first step; local-runner starts it again once."""
    bench.script("ranked", "finetune_train.py", step="penalty = torch.norm(self.model[0].weight, order=2)")
    folder = local(bench, "torchrun", "finetune_train.py", "--steps", "20", options=("--max-restarts", "1"))
    waited(bench, folder)
    bench.keep_run(folder)


@case(
    "script-error-caught-exit-13",
    cause="script-error",
    rank=1,
    restart="STOP",
    also_restart=("RESTART",),
    proof="ZeroDivisionError",
)
def caught(bench: Bench) -> None:
    """Rank 1's own handler prints one line and leaves with 13; the handler of the others reports the lost connection the same way."""
    bench.script(
        "caught",
        setup="global warmup\nwarmup = list(range(40, 0, -1))\nif RANK == 1: warmup[25] = 0",
        step="factor = min(1.0, 40 / warmup[iteration])",
    )
    bench.write("train.log", torchrun(bench, "train.py").read_bytes())


@case(
    "assertion-one-rank",
    cause="assertion",
    also=("script-error",),
    rank=3,
    restart="STOP",
    also_restart=("RESTART",),
    proof="AssertionError",
)
def assertion(bench: Bench) -> None:
    """Rank 3 (second node) asserts on the shape of its batch; two pods."""
    bench.script(
        "ranked",
        sample="if step == 12 and self.rank == 3:\n    self.tail = torch.zeros(7, 16)",
        step='x = getattr(self, "tail", x)\nassert x.shape[0] == 8, f"expected a batch of 8, got {tuple(x.shape)}"',
    )
    logs = two_nodes(bench, "train.py", launcher="launch")
    bench.pods(logs)


@case("bad-option", cause="bad-option", rank="all", also_rank=("any",), restart="STOP", proof="unrecognized arguments")
def bad_option(bench: Bench) -> None:
    """A word that the script's parser does not know: exit code 2 of every rank."""
    bench.script("ranked")
    bench.write("job-1432.out.log", torchrun(bench, "train.py", "--steps", "20", "--learning-rate", "1e-4").read_bytes())


@case("module-missing", cause="module-missing", rank="all", also_rank=("any",), restart="STOP", proof="ModuleNotFoundError")
def module_missing(bench: Bench) -> None:
    """flash_attn is not installed."""
    bench.script("plain", imports="from flash_attn import flash_attn_func")
    folder = local(bench, "torchrun", "train.py", options=("--max-restarts", "2", "--backoff-s", "0"))
    waited(bench, folder)
    bench.keep_run(folder, bare=True)
