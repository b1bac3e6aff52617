"""The text that train.py learns from: files as one row of bytes, cut into blocks.

Without `--data` it is the Python standard library's own sources, which every machine has.
"""

from __future__ import annotations

import os
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Container

# S bytes of the corpus, B batch, T tokens (bytes) of a block

LEFT_OUT_FOLDERS = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}
SNIFFED_BYTES = 8192


def read_corpus(data: list[str], max_bytes: int) -> bytes:
    """The first `max_bytes` of the files, in sorted order, each beginning on a line of its own.

    Raises ValueError or OSError, worded for the user, when there is nothing to read.
    """
    paths = [path for name in data for path in _text_files(Path(name))] if data else standard_library_sources()
    corpus = bytearray()
    for path in paths:
        if len(corpus) >= max_bytes:
            break
        if corpus and not corpus.endswith(b"\n"):
            corpus += b"\n"
        with path.open("rb") as file:
            corpus += file.read(max_bytes)  # bounded: a file may be larger than the memory
    if not corpus:
        raise ValueError(f"no text in {', '.join(data) or 'the standard library'}")
    return bytes(corpus[:max_bytes])


def standard_library_sources() -> list[Path]:
    """The sources of this Python's standard library: no tests, no installed packages, sorted by path."""
    return [
        path
        for path in _files_under(Path(sysconfig.get_path("stdlib")), LEFT_OUT_FOLDERS)
        # _sysconfigdata is generated: another one in every build of Python.
        if path.suffix == ".py" and not path.name.startswith("_sysconfigdata")
    ]


def _text_files(path: Path) -> list[Path]:
    """`path` itself, or the text files under it, hidden ones left out."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise ValueError(f"--data {path}: no such file or folder")
    return [file for file in _files_under(path) if not _is_binary(file)]


def _files_under(root: Path, left_out: Container[str] = ()) -> list[Path]:
    """Regular files that are not hidden, in one order on every machine. No links: nothing twice, nothing from outside."""
    found = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if name not in left_out and not name.startswith(".")]
        found += [Path(folder, name) for name in names if not name.startswith(".")]
    regular = [path for path in found if path.is_file() and not path.is_symlink()]
    return sorted(regular, key=lambda path: path.relative_to(root).parts)


def _is_binary(path: Path) -> bool:
    """Git's rule: a NUL byte near the beginning."""
    with path.open("rb") as file:
        return b"\0" in file.read(SNIFFED_BYTES)


@dataclass(frozen=True)
class Blocks:
    """Bytes as samples: block i is predicted from the T bytes that begin at i * T."""

    bytes_S: torch.Tensor
    block_size: int

    def __len__(self) -> int:
        return max(0, len(self.bytes_S) - 1) // self.block_size

    def batch(self, indices_B: torch.Tensor, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs and targets, int64 (B, T) each; targets are the inputs one byte later."""
        offsets_T = torch.arange(self.block_size + 1)
        window_BT = self.bytes_S[indices_B[:, None] * self.block_size + offsets_T].long().to(device)
        return window_BT[:, :-1], window_BT[:, 1:]


def split(corpus: bytes, block_size: int, validation_part: float = 0.05) -> tuple[Blocks, Blocks]:
    """Training and validation blocks; validation is the end of the corpus. Raises ValueError where a part has no block."""
    bytes_S = torch.frombuffer(bytearray(corpus), dtype=torch.uint8)
    validation_bytes = max(block_size + 1, int(len(corpus) * validation_part))
    training_bytes = len(corpus) - validation_bytes
    if training_bytes <= block_size:
        needed = 2 * (block_size + 1)
        raise ValueError(f"{len(corpus)} bytes of data: --block-size {block_size} needs at least {needed}")
    return Blocks(bytes_S[:training_bytes], block_size), Blocks(bytes_S[training_bytes:], block_size)
