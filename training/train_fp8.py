"""train.py with float8 matrix products in its linear layers (torchao): the same loop, the same options, and a few of its own.

    python training/train_fp8.py --steps 100 --fp8-emulate                  to try it out on any machine
    torchrun --nproc-per-node 8 training/train_fp8.py --dim 4096 --heads 32 --fp8-recipe rowwise

The first and the last linear layer, and what is no linear layer, compute in bf16 (autocast); parameters and optimizer stay
float32. Checkpoints are those of train.py: a bf16 run can go on in float8 and the other way round. Where no platform sets
TRAINYARD_CHECKPOINTS they go to ./checkpoints-fp8, so that the two trainers do not meet in one folder.

Where the hardware has no float8, the run says why and trains in bf16; with --fp8-strict it ends instead. What is converted,
and on which hardware, is in lm_fp8.py.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

if __name__ == "__main__":
    import lm_dependencies

    lm_dependencies.check(sys.argv[1:], fp8=True)  # before an import fails

import lm_fp8
import train
import trainyard
from lm_model import GPT
from lm_options import Parser, make_parser
from lm_program import begin, errors_in_words
from trainyard.agreement import Agreement

FOLDER = "checkpoints-fp8"
AGREE_TIMEOUT_S = 300.0


class Float8Error(trainyard.TrainyardError):
    """Float8 was demanded and cannot be had."""


def add_options(parser: Parser) -> None:
    group = parser.add_argument_group("float8")

    def choice(name: str, meanings: dict[str, str], default: str) -> None:
        text = "; ".join(f"{word}: {meaning}" for word, meaning in meanings.items())
        group.add_argument(name, choices=list(meanings), default=default, help=f"{text} (default: %(default)s)")

    choice("--fp8-recipe", lm_fp8.RECIPES, "tensorwise")
    choice("--fp8-format", lm_fp8.FORMATS, "hybrid")
    group.add_argument("--fp8-emulate", action="store_true", help="round to float8 in software, on any hardware, to try it out")
    group.add_argument("--fp8-strict", action="store_true", help="end with an error where float8 cannot be had")
    parser.set_defaults(precision="bf16")


def check_options(args: argparse.Namespace) -> None:
    """Raises ValueError, worded for the user."""
    if args.precision != "bf16":
        raise ValueError(f"--precision {args.precision}: what is not float8 is bf16 here; train.py has the other precisions")
    if args.block_size % lm_fp8.MULTIPLE:
        # The gradient of a weight is a sum over the bytes of a batch, and the smallest batch, the warm-up's, is one block.
        raise ValueError(f"--block-size {args.block_size} is no multiple of {lm_fp8.MULTIPLE}, as float8 products need")


def use_float8(net: GPT, args: argparse.Namespace) -> dict[str, Any]:
    """Convert `net`, or leave it and say why; the same on every rank. Returns what the run's events are to keep."""
    agreement = Agreement(timeout_s=AGREE_TIMEOUT_S)
    own = lm_fp8.why_not(net, recipe=args.fp8_recipe, emulate=args.fp8_emulate)
    reason = lm_fp8.first_reason(agreement.gather(own or ""))
    if reason and args.fp8_strict:
        raise Float8Error(f"{reason}; without --fp8-strict the run trains in bf16")
    told: dict[str, Any] = {"used": not reason, "reason": reason}
    if not reason:
        how = {"recipe": args.fp8_recipe, "format": args.fp8_format, "emulate": args.fp8_emulate}
        told |= how | vars(lm_fp8.convert(net, **how))
    if agreement.rank == 0:
        print("\n".join(f"float8: {line}" for line in lm_fp8.report(told)), flush=True)
    return told


def main(argv: list[str] | None = None) -> None:
    parser = make_parser(__doc__, prog="train_fp8.py")
    add_options(parser)
    args = parser.parse_args(argv)
    try:
        check_options(args)
    except ValueError as error:
        parser.error(str(error))
    os.environ.setdefault("TRAINYARD_CHECKPOINTS", FOLDER)
    config, corpus = begin(parser, args)
    with errors_in_words(parser):
        world = trainyard.init_distributed(timeout_s=300)
        net = train.make_net(args, config, world)
        converted = use_float8(net, args)  # before it is shared out to the ranks
        run = train.prepare(args, net, world, corpus)
        run.checkpointer.log_event("converted", **converted)
        train.train(run)


if __name__ == "__main__":
    main()
