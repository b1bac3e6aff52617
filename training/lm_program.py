"""What every trainer does before it trains, and how it ends where that goes wrong: one line, no traceback."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Iterator

import torch
import trainyard
from lm_corpus import read_corpus, split
from lm_model import ModelConfig
from lm_options import Parser, check_options


def begin(parser: Parser, args: argparse.Namespace) -> tuple[ModelConfig, bytes]:
    """Check what the options say together, set torch up by them, read the text. What is wrong ends the program with exit 2."""
    torch.set_num_threads(args.threads)
    if args.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it starts
        torch.use_deterministic_algorithms(True)
    try:
        check_options(args, int(os.environ.get("WORLD_SIZE", "1")))
        config = ModelConfig(**{field: getattr(args, field) for field in ModelConfig.__dataclass_fields__})
        corpus = read_corpus(args.data, args.max_bytes)
        split(corpus, args.block_size)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    return config, corpus


@contextlib.contextmanager
def errors_in_words(parser: Parser) -> Iterator[None]:
    """What the runtime refuses within it ends the program with exit 1."""
    try:
        yield
    except trainyard.TrainyardError as error:
        parser.exit(1, f"{parser.prog}: error: {error}\n")
