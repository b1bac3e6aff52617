"""A safetensors file of unknown origin: listed, or refused in words."""

from __future__ import annotations

from collections.abc import Callable

from tests.fuzz.checkpoint_files import safetensors
from tests.fuzz.checkpoint_verbs import reader

COVERED = ["tensor_reading", "checkpoint_formats"]
W = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
SEEDS = [
    safetensors({"__metadata__": {"format": "pt"}, "w": W}, bytes(16)),
    safetensors({"w": W, "b": {"dtype": "F4", "shape": [4], "data_offsets": [16, 18]}}, bytes(18)),
    safetensors({"__metadata__": {"DCP_SHARDING_INFO": '{"w": {"saved_offsets": [0, 0]}}'}, "w": W}, bytes(16)),
    safetensors({'a"\\é': {"shape": [], "dtype": "F64", "data_offsets": [0, 8]}}, bytes(8)),
    safetensors({}, b""),
]
WORDS = [
    b'"w":',
    b'"data_offsets":[0,16]',
    b'"dtype":"F8_E8M0"',
    b"\\ud800",
    b"-1",
    b"1e9",
    b"9" * 5000,
    b"__metadata__",
    b"{",
    b"}",
    b'"',
    b"\\",
]


def target() -> Callable[[bytes], None]:
    return reader(".safetensors")
