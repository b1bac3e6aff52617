"""The words of `plan`: numbers as people write them, each checked before anything is computed."""

from __future__ import annotations

import math
import re
from decimal import Decimal

import click
from checkpoint_planner.sizes import BYTES_OF, OPTIMIZERS

NUMBER = r"(?:\d+\.?\d*|\.\d+)(?:e\+?\d{1,3})?"
COUNT = re.compile(rf"({NUMBER})\s*([kmbt]?)", re.IGNORECASE | re.ASCII)
BANDWIDTH = re.compile(rf"({NUMBER})\s*(?:([kKMGT]i?)?B(?:/s)?)?", re.ASCII)
THOUSANDS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "t": 10**12}
LARGEST_COUNT, LARGEST_BANDWIDTH, LARGEST_NUMBER = 10**15, 10**15, 10**12


def count(context: click.Context, option: click.Parameter, value: str) -> int:
    """A number of parameters: 7000000000, 7e9, 7B, 1.3b, 125M."""
    match = COUNT.fullmatch(value.strip())
    number = Decimal(match[1]) * THOUSANDS[match[2].lower()] if match else Decimal(0)
    if not 1 <= number <= LARGEST_COUNT or number != int(number):
        raise click.BadParameter(f"{value[:40]!r} is not a number of parameters; write 7e9, 7B or 125M", context, option)
    return int(number)


def bandwidth(context: click.Context, option: click.Parameter, value: str | None) -> float | None:
    """Bytes a second: 2GB/s, 500MB, 1.5GiB/s, 2e9. Bits are refused, and so is `gb`, which may mean either."""
    if value is None:
        return None
    match = BANDWIDTH.fullmatch(value.strip())
    prefix = (match[2] or "") if match else ""
    base = 1024 if prefix.endswith("i") else 1000
    number = float(match[1]) * base ** " KMGT".index(prefix[:1].upper() or " ") if match else 0.0
    if not 1 <= number <= LARGEST_BANDWIDTH:
        told = f"{value[:40]!r} is no bandwidth in bytes; write 2GB/s (16 Gbit/s are 2GB/s)"
        raise click.BadParameter(told, context, option)
    return number


def positive(context: click.Context, option: click.Parameter, value: str | None) -> float | None:
    """A number above 0; neither `nan` nor `inf`, which a float type would let through."""
    if value is None:
        return None
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not 0 < number <= LARGEST_NUMBER:
        raise click.BadParameter(f"{value[:40]!r} is not a number above 0", context, option)
    return number


OPTIONS: list[click.Parameter] = [
    click.Option(["--params"], callback=count, metavar="COUNT", required=True, help="Parameters of the model: 7e9, 7B, 125M."),
    click.Option(["--optimizer"], type=click.Choice(sorted(OPTIMIZERS)), default="adamw", show_default=True),
    click.Option(
        ["--dtype"],
        type=click.Choice(list(BYTES_OF)),
        default="fp32",
        show_default=True,
        help="Dtype of the weights in the module: fp32 under autocast and under FSDP2's MixedPrecisionPolicy.",
    ),
    click.Option(
        ["--optimizer-dtype"],
        type=click.Choice(list(BYTES_OF)),
        help="Of the optimizer's states. Default: that of the weights, as torch.optim makes them; fp32 with --master-weights.",
    ),
    click.Option(["--master-weights"], is_flag=True, help="The optimizer keeps an fp32 copy of the weights, and saves it."),
    click.Option(["--nodes"], type=click.IntRange(1, 100_000), default=1, show_default=True),
    click.Option(["--gpus-per-node"], type=click.IntRange(1, 1024), default=8, show_default=True, help="Ranks on a node."),
    click.Option(
        ["--write-bandwidth"],
        callback=bandwidth,
        metavar="BYTES/S",
        help="Of one node to the checkpoint volume, while all write: 2GB/s.",
    ),
    click.Option(
        ["--measure"], metavar="FOLDER", help="Measure it: writes at most 1 GiB into FOLDER with fsync, and removes it."
    ),
    click.Option(
        ["--blocked-seconds"],
        callback=positive,
        metavar="NUMBER",
        help="Seconds that a snapshot blocks the training loop: `blocked_s` in steps.jsonl.",
    ),
    click.Option(["--step-seconds"], callback=positive, metavar="NUMBER", help="One optimizer step: `step_s` in steps.jsonl."),
    click.Option(
        ["--rolling-steps"], type=click.IntRange(1, 10**9), default=250, show_default=True, help="Yours, as in the job file."
    ),
    click.Option(["--keep-rolling"], type=click.IntRange(1, 10**6), default=10, show_default=True, help="As in the job file."),
    click.Option(["--keep-epochs"], type=click.IntRange(0, 10**6), default=5, show_default=True, help="As in the job file."),
    click.Option(
        ["--mtbf-hours-per-node"],
        callback=positive,
        metavar="NUMBER",
        help="Mean hours between failures of one node. Default: published.",
    ),
    click.Option(
        ["--restart-seconds"],
        callback=positive,
        metavar="NUMBER",
        default="300",
        show_default=True,
        help="From a failure until training goes on.",
    ),
    click.Option(
        ["--usd-per-node-hour"],
        callback=positive,
        metavar="NUMBER",
        help="Price of a node, for the cost of a step and of lost time.",
    ),
]
