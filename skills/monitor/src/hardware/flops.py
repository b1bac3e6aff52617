"""How much of a GPU's peak a training uses (model FLOP/s utilisation), by the rule of 6 FLOP a parameter and token.

6N: 2N for the forward pass, 4N for the backward pass (Kaplan et al., arXiv 2001.08361, section 2.1; PaLM, arXiv 2204.02311, appendix B).
Attention is left out, so long contexts do more work than is counted; of a mixture of experts N is the active parameters.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trainyard_shell as shell
import trainyard_yaml

TABLE = Path(__file__).resolve().parents[2] / "assets" / "peak_flops.yaml"
FLOP_A_TOKEN = 6
PRECISIONS = ("bf16", "fp16", "fp8", "tf32", "fp32")
AMOUNT = re.compile(r"(\d{1,15}(?:\.\d{1,6})?)\s*([KkMmBbTt]?)")
SCALE = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}
KNOWN_NAMES = (("H100 PCIE", "H100-PCIE"), ("TRAINIUM2", "TRAINIUM2"), ("TRAINIUM", "TRAINIUM"))
HEAD_BYTES = 4 << 20
PARAMETERS = (
    re.compile(rb"size: ([\d,]{4,20}) total parameters"),  # torchtitan
    re.compile(rb"Number of trainable parameters = ([\d,]{4,20})"),  # transformers.Trainer
    re.compile(rb"number of parameters: (\d{1,6}(?:\.\d{1,4})?[MB])\b"),  # nanoGPT
)
GPU_NAME = re.compile(rb"NVIDIA (?:Tesla )?((?:GB|[ABHLVT])\d{1,3}[A-Z]?)\b([ -]PCI[eE])?")
OWN_MFU = re.compile(rb"\bmfu\b[^\d\n]{1,12}(\d{1,3}(?:\.\d{1,4})?)\s*(%?)", re.IGNORECASE)


@functools.cache
def table() -> dict[str, Any]:
    """A damaged one is a bug of ours, so nothing is caught here."""
    found: dict[str, Any] = trainyard_yaml.read(TABLE)
    return found


@dataclass(frozen=True)
class Told:
    """What the head and the end of a log say of the model and the device; None: nothing."""

    parameters: float | None = None
    gpu: str | None = None
    own_mfu: float | None = None
    """The last one that the trainer itself printed, as a part."""


def told_by(head: bytes, end: bytes) -> Told:
    found = next((match[1].decode() for rule in PARAMETERS if (match := rule.search(head))), None)
    gpu = GPU_NAME.search(head)
    own = list(OWN_MFU.finditer(end))[-1:]
    mfu = float(own[0][1]) / (100 if own[0][2] or float(own[0][1]) > 1 else 1) if own else None
    name = gpu[1].decode() + ("-PCIE" if gpu[2] else "") if gpu else None
    return Told(amount(found) if found else None, name if name in table()["peaks"] else None, mfu)


def amount(text: str) -> float:
    """7B, 124.4M, 8030261248. Raises SkillError usage."""
    match = AMOUNT.fullmatch(text.strip().replace(",", "").replace("_", ""))
    value = float(match[1]) * SCALE[match[2].lower()] if match else 0.0
    if value <= 0:
        raise shell.SkillError("usage", f"{shell.clean(text, 40)!r} is not a number of parameters", hint="--parameters 7B")
    return value


def gpu_name(text: str) -> str:
    """H100, `NVIDIA H100 80GB HBM3`, h100-pcie. Raises SkillError usage for one that the table does not have."""
    words, names = text.upper().replace("NVIDIA ", ""), table()["peaks"]
    special = next((name for mark, name in KNOWN_NAMES if mark in words), None)
    found = special or next((name for name in names if name in re.split(r"[\s-]", words) or name == words), None)
    if found is None:
        raise shell.SkillError("usage", f"no peak is known of {shell.clean(text, 60)!r}", hint=f"--gpu: {', '.join(names)}")
    return found


def peak(gpu: str, precision: str) -> float | None:
    """FLOP/s of one device; None where the table has none."""
    found = table()["peaks"][gpu].get(precision)
    return None if found is None else float(found) * 1e12


def expected() -> tuple[float, str]:
    """(the least of the published ones, all of them in words)."""
    rows = table()["published"]
    return min(row["mfu"] for row in rows), "; ".join(f"{row['mfu']:.0%} {row['what']}" for row in rows)
