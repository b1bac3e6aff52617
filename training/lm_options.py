"""The options of train.py, checked before anything is started."""

from __future__ import annotations

import argparse
import math
import re
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line and exit 2. Every rank says it: the launcher may end rank 0 before it has spoken."""
        self.exit(2, f"{self.prog}: error: {message}\n")


def make_parser(description: str | None) -> Parser:
    parser = Parser(
        prog="train.py", description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )

    def option(group: Any, name: str, default: Any, text: str, **more: Any) -> None:
        group.add_argument(name, default=default, help=f"{text} (default: %(default)s)", **more)

    count, size = number(int, at_least=0), number(int, at_least=1)
    amount, share = number(float, at_least=0), number(float, at_least=0, below=1)

    data = parser.add_argument_group("data")
    data.add_argument(
        "--data", nargs="+", default=[], metavar="PATH", help="text files or folders (default: Python's own library)"
    )
    option(data, "--max-bytes", 8 << 20, "read at most this much of it", type=size, metavar="N")
    option(data, "--batch-size", 32, "blocks a step, over all ranks", type=size, metavar="N")
    option(data, "--block-size", 64, "bytes a block", type=size, metavar="N")
    option(data, "--seed", 1, "of the initial weights, the dropout and the data order", type=count, metavar="N")

    model = parser.add_argument_group("model")
    option(model, "--layers", 5, "transformer blocks", type=size, metavar="N")
    option(model, "--heads", 4, "attention heads a block", type=size, metavar="N")
    option(model, "--dim", 128, "width of the model", type=size, metavar="N")
    option(model, "--dropout", 0.0, "part of each block's outputs dropped in training", type=share, metavar="P")
    model.add_argument("--tied", action="store_true", help="the output layer shares the embedding's weight")

    training = parser.add_argument_group("training")
    option(training, "--steps", 400, "optimizer steps in all, those before a resume included", type=size, metavar="N")
    option(training, "--lr", 3e-3, "highest learning rate (AdamW)", type=number(float, above=0), metavar="RATE")
    option(training, "--min-lr", 3e-4, "learning rate at the end of the cosine", type=amount, metavar="RATE")
    option(training, "--warmup-steps", 40, "steps over which the rate rises to --lr", type=count, metavar="N")
    option(training, "--weight-decay", 0.1, "on matrices only", type=amount, metavar="X")
    option(training, "--grad-clip", 1.0, "largest gradient norm; 0: no clipping", type=amount, metavar="NORM")
    option(training, "--gradient-accumulation", 1, "parts in which a rank computes its batch", type=size, metavar="N")
    option(
        training, "--eval-interval", 50, "steps between evaluations; the last step is always evaluated", type=size, metavar="N"
    )
    option(training, "--eval-batches", 8, "batches of one evaluation", type=size, metavar="N")
    option(training, "--sample-bytes", 300, "bytes of text generated at the end; 0: none", type=count, metavar="N")

    machine = parser.add_argument_group("machine")
    option(machine, "--parallel", "ddp", "how the ranks share the work", choices=["ddp", "fsdp"])
    option(machine, "--precision", "fp32", "bf16: autocast", choices=["fp32", "bf16"])
    option(machine, "--threads", 1, "CPU threads a process; another number sums in another order", type=size, metavar="N")
    machine.add_argument(
        "--deterministic", action="store_true", help="deterministic algorithms on GPUs too, where they cost time"
    )

    checkpoints = parser.add_argument_group("checkpoints")
    option(checkpoints, "--resume", "latest", "latest, best, epoch:N, step:N or none", type=resume_choice, metavar="WHICH")
    checkpoints.add_argument("--tensorboard", action="store_true", help="write scalars for TensorBoard")
    # The negative control of the bit-for-bit tests: without the warm-up, a run resumed at four ranks drifts.
    checkpoints.add_argument("--skip-warm-up", action="store_true", help=argparse.SUPPRESS)
    return parser


def number(
    kind: type[int] | type[float], *, at_least: float = -math.inf, above: float = -math.inf, below: float = math.inf
) -> Callable[[str], float]:
    """An argparse type: a number within bounds, NaN never."""

    def convert(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a{'n integer' if kind is int else ' number'}") from None
        if not (at_least <= value < below and value > above):
            limits = {"at least": at_least, "above": above, "below": below}
            words = " and ".join(f"{word} {limit:g}" for word, limit in limits.items() if math.isfinite(limit))
            raise argparse.ArgumentTypeError(f"{text} is not {words or 'finite'}")
        return value

    return convert


def resume_choice(text: str) -> str:
    if not re.fullmatch(r"latest|best|none|(epoch|step):\d+", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r} is none of latest, best, epoch:N, step:N, none")
    return text


def check_batch(args: argparse.Namespace, world_size: int) -> None:
    """Raises ValueError where the global batch does not divide evenly."""
    if args.batch_size % (world_size * args.gradient_accumulation):
        raise ValueError(
            f"--batch-size {args.batch_size} does not divide by {world_size} ranks x "
            f"--gradient-accumulation {args.gradient_accumulation}"
        )
