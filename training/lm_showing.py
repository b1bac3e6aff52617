"""What a trainer shows besides its loss: generated text, and the distributions of weights and gradients."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import trainyard
from lm_model import GPT, generate
from torch import nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

PROMPT = b"def "


def sample(net: GPT, args: argparse.Namespace) -> str:
    """Text from the model as it is; training goes on as if nothing had happened. Collective. Control characters are replaced."""
    net.eval()
    raw = generate(net, PROMPT, args.sample_bytes, args.block_size, seed=args.seed)
    net.train()
    if isinstance(net, FSDPModule):
        net.reshard()
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in raw.decode("utf-8", errors="replace"))


def show_sample(net: GPT, args: argparse.Namespace, rank: int) -> None:
    """On rank 0's stdout and in the run folder. Collective."""
    text = sample(net, args)
    if rank > 0:
        return
    for line in text.split("\n"):
        print(f"sample: {line}", flush=True)
    if run_dir := os.environ.get("TRAINYARD_RUN_DIR"):
        try:
            Path(run_dir, "sample.txt").write_text(text + "\n", encoding="utf-8")
        except OSError as error:  # the training is done and saved: a full disk here must not make it a failed one
            print(f"sample.txt cannot be written: {error}", file=sys.stderr)


def log_histograms(net: nn.Module, checkpointer: trainyard.Checkpointer) -> None:
    """All weights and their gradients, to the curves. Collective: with FSDP every rank has a part of each."""
    for name, parameter in net.named_parameters():
        for kind, values in (("weights", parameter.detach()), ("gradients", parameter.grad)):
            if values is not None:
                whole = values.full_tensor() if isinstance(values, DTensor) else values
                checkpointer.log_histogram(f"{kind}/{name}", whole)
