"""The options of the trainers, checked before anything is started."""

from __future__ import annotations

import argparse
import math
import re
import shutil
from typing import TYPE_CHECKING, Any, NoReturn

from lm_profile import step_range

if TYPE_CHECKING:
    from collections.abc import Callable


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line and exit 2. Every rank says it: the launcher may end rank 0 before it has spoken."""
        self.exit(2, f"{self.prog}: error: {message}\n")


def make_parser(description: str | None, prog: str = "train.py") -> Parser:
    parser = Parser(
        prog=prog, description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    _add_data_options(parser)
    _add_model_options(parser)
    _add_training_options(parser)
    _add_machine_options(parser)
    _add_checkpoint_options(parser)
    _add_telling_options(parser)
    return parser


def _option(group: Any, name: str, default: Any, text: str, **more: Any) -> None:
    group.add_argument(name, default=default, help=f"{text} (default: %(default)s)", **more)


def _add_data_options(parser: Parser) -> None:
    data = parser.add_argument_group("data")
    data.add_argument(
        "--data", nargs="+", default=[], metavar="PATH", help="text files or folders (default: Python's own library)"
    )
    _option(data, "--max-bytes", 8 << 20, "read at most this much of it", type=SIZE, metavar="N")
    _option(data, "--batch-size", 32, "blocks a step, over all ranks", type=SIZE, metavar="N")
    _option(data, "--block-size", 64, "bytes a block", type=SIZE, metavar="N")
    _option(data, "--seed", 1, "of the initial weights, the dropout and the data order", type=COUNT, metavar="N")
    _option(data, "--workers", 0, "processes a rank that make batches ahead; 0: none", type=COUNT, metavar="N")
    _option(data, "--prefetch", 2, "batches that each of them makes ahead", type=SIZE, metavar="N")
    data.add_argument("--pin-memory", action="store_true", help="copy batches to the GPU from pinned memory; needs --workers")


def _add_model_options(parser: Parser) -> None:
    model = parser.add_argument_group("model")
    _option(model, "--layers", 5, "transformer blocks", type=SIZE, metavar="N")
    _option(model, "--heads", 4, "attention heads a block", type=SIZE, metavar="N")
    _option(model, "--dim", 128, "width of the model", type=SIZE, metavar="N")
    _option(model, "--dropout", 0.0, "part of each block's outputs dropped in training", type=SHARE, metavar="P")
    model.add_argument("--tied", action="store_true", help="the output layer shares the embedding's weight")


def _add_training_options(parser: Parser) -> None:
    training = parser.add_argument_group("training")
    _option(training, "--steps", 400, "optimizer steps in all, those before a resume included", type=SIZE, metavar="N")
    _option(training, "--lr", 3e-3, "highest learning rate (AdamW)", type=number(float, above=0), metavar="RATE")
    _option(training, "--min-lr", 3e-4, "learning rate at the end of the cosine", type=AMOUNT, metavar="RATE")
    _option(training, "--warmup-steps", 40, "steps over which the rate rises to --lr", type=COUNT, metavar="N")
    _option(training, "--weight-decay", 0.1, "on matrices only", type=AMOUNT, metavar="X")
    _option(training, "--grad-clip", 1.0, "largest gradient norm; 0: no clipping", type=AMOUNT, metavar="NORM")
    _option(training, "--gradient-accumulation", 1, "parts in which a rank computes its batch", type=SIZE, metavar="N")
    _option(training, "--eval-interval", 50, "steps between evaluations; the last step has one too", type=SIZE, metavar="N")
    _option(training, "--eval-batches", 8, "batches of one evaluation", type=SIZE, metavar="N")
    _option(
        training, "--patience", 0, "stop after that many evaluations without a better loss; 0: never", type=COUNT, metavar="N"
    )
    _option(training, "--min-delta", 0.0, "a loss is better when it is lower by more than this", type=AMOUNT, metavar="NATS")


def _add_machine_options(parser: Parser) -> None:
    machine = parser.add_argument_group("machine")
    _option(machine, "--parallel", "ddp", "how the ranks share the work", choices=["ddp", "fsdp"])
    _option(machine, "--precision", "fp32", "bf16, fp16: autocast; fp16 with loss scaling", choices=["fp32", "bf16", "fp16"])
    _option(machine, "--threads", 1, "CPU threads a process; another number sums in another order", type=SIZE, metavar="N")
    machine.add_argument("--compile", action="store_true", help="torch.compile each block: a slow first step, then faster ones")
    machine.add_argument(
        "--deterministic", action="store_true", help="deterministic algorithms on GPUs too, where they cost time"
    )
    machine.add_argument(
        "--auto-deps",
        action="store_true",
        help="only show which packages these options need, which are missing, how to get them",
    )


def _add_checkpoint_options(parser: Parser) -> None:
    checkpoints = parser.add_argument_group("checkpoints")
    _option(
        checkpoints,
        "--resume",
        "latest",
        "latest, best, epoch:N, step:N, or none: begin anew, older steps are set aside",
        type=resume_choice,
        metavar="WHICH",
    )


def _add_telling_options(parser: Parser) -> None:
    telling = parser.add_argument_group("curves, samples, profile (beside steps.jsonl, in the run folder)")
    telling.add_argument("--tensorboard", action="store_true", help="write TensorBoard event files")
    telling.add_argument("--wandb", choices=["offline", "online"], help="write to Weights & Biases (default: not at all)")
    _option(
        telling,
        "--histogram-interval",
        0,
        "steps between histograms of all weights and gradients; 0: none",
        type=COUNT,
        metavar="N",
    )
    _option(telling, "--sample-interval", 0, "steps between generated texts in the curves; 0: none", type=COUNT, metavar="N")
    _option(telling, "--sample-bytes", 300, "bytes of text generated at the end; 0: none", type=COUNT, metavar="N")
    telling.add_argument("--profile", type=profile_range, metavar="A:B", help="profile steps A to B (default: none)")


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


COUNT, SIZE = number(int, at_least=0), number(int, at_least=1)
AMOUNT, SHARE = number(float, at_least=0), number(float, at_least=0, below=1)


def resume_choice(text: str) -> str:
    if not re.fullmatch(r"latest|best|none|(epoch|step):\d+", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r} is none of latest, best, epoch:N, step:N, none")
    return text


def profile_range(text: str) -> Any:
    try:
        return step_range(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def check_options(args: argparse.Namespace, world_size: int) -> None:
    """Raises ValueError for options that are right alone and wrong together."""
    if args.batch_size % (world_size * args.gradient_accumulation):
        raise ValueError(
            f"--batch-size {args.batch_size} does not divide by {world_size} ranks x "
            f"--gradient-accumulation {args.gradient_accumulation}"
        )
    if args.profile:
        args.profile.check(args.steps)
    if args.pin_memory and not args.workers:
        raise ValueError("--pin-memory is done by workers: add --workers N")
    if args.precision == "fp16" and args.parallel == "fsdp":
        raise ValueError("--precision fp16 with --parallel fsdp: each rank would scale its loss by itself; use bf16, or ddp")
    if args.compile and not shutil.which("g++") and not shutil.which("clang++"):
        raise ValueError("--compile needs a C++ compiler (g++ or clang++) on this machine")
