"""Formats that are told apart and not read here, and what stands in a checkpoint's place without being one.

Each is known by its own mark, never by its name alone: a `.nemo` is a tar of its own, a `.mar` a zip of its own.
"""

from __future__ import annotations

import re
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

HEAD_BYTES = 1024
MAX_MEMBERS = 10_000
_POINTER = re.compile(rb"version https://(?:git-lfs\.github\.com|hawser\.github\.com)/spec/v1\r?\n")
_ANNEX = re.compile(rb"[./]*/annex/objects/|[./]*\.git/annex/objects/")


@dataclass(frozen=True)
class Other:
    """What it is, and what that means here."""

    like: str
    evidence: str
    stands_in: bool = False
    """It stands where a file should be, and is not that file."""


_MAGIC = (
    (b"GGUF", "gguf", "GGUF's magic: weights for llama.cpp, a format that is not read here"),
    (b"\x89HDF\r\n\x1a\n", "hdf5", "HDF5's magic (Keras, h5py), a format that is not read here"),
    (b"\x93NUMPY", "npy", "NumPy's magic: one array"),
    (b"\x1f\x8b", "gzip", "a gzip stream, which is not unpacked here (older .nemo files are one)"),
    (b"\x28\xb5\x2f\xfd", "zstd", "a zstd stream, which is not unpacked here"),
    (b"BZh", "bzip2", "a bzip2 stream, which is not unpacked here"),
    (b"\xfd7zXZ\x00", "xz", "an xz stream, which is not unpacked here"),
    (b"\x7fELF", "program", "a program (ELF), not a checkpoint"),
)


def stands_in(head: bytes) -> str | None:
    """Why a file that begins so is not the file itself: nobody fetched it, or an answer of a server was saved in its place."""
    if _POINTER.match(head):
        return "a git-lfs pointer: the file itself was not fetched (git lfs pull)"
    if _ANNEX.match(head):
        return "a git-annex pointer: the file itself was not fetched"
    if head.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html", b"<?xml")):
        return "a web page, saved in the place of a file"
    return None


def other_format(path: Path) -> Other | None:
    """None for what may be a checkpoint that is read here, or is nothing known. Raises OSError."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if (why := stands_in(head)) is not None:
        return Other("pointer" if "pointer" in why else "web page", why, stands_in=True)
    for magic, like, evidence in _MAGIC:
        if head.startswith(magic):
            return Other(like, evidence)
    if head[257:262] == b"ustar":
        return _tar(path)
    if head.startswith(b"PK\x03\x04"):
        return _zip(path)
    if path.suffix == ".onnx" and head[:1] == b"\x08":
        return Other("onnx", "named .onnx and begins as one: a format that is not read here")
    return None


def _tar(path: Path) -> Other | None:
    """None for the tar that torch wrote before 0.1.10."""
    try:
        with tarfile.open(path, "r:") as archive:
            names = {member.name.removeprefix("./") for member, _ in zip(archive, range(20), strict=False)}
    except (tarfile.TarError, EOFError, ValueError, OverflowError):
        names = set()
    if {"storages", "tensors", "pickle"} & names:
        return None
    if names & {"model_config.yaml", "model_weights.ckpt", "model_weights"}:
        return Other("nemo", "a tar with model_config.yaml: NeMo's, unpack it and ask about what is in it")
    return Other("tar", "a tar archive: unpack it and ask about what is in it")


def _zip(path: Path) -> Other | None:
    """None for an archive that torch may have written, and for one whose directory cannot be read."""
    from torch_reading.zip_archive import ZIP_ERRORS, member_count

    if member_count(path, 0, path.stat().st_size) > MAX_MEMBERS:
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()[:MAX_MEMBERS]
    except ZIP_ERRORS:
        return None
    if "MAR-INF/MANIFEST.json" in names:
        return Other("mar", "a TorchServe archive: it holds a handler, which is code, beside the weights; not read here")
    if any(name.endswith("/data.pkl") or name == "data.pkl" for name in names):
        return None
    if names and all(name.endswith(".npy") for name in names):
        return Other(
            "npz", "a zip of NumPy arrays, which is not read here; one of objects is a pickle (load it with allow_pickle=False)"
        )
    if {"metadata.json", "config.json", "model.weights.h5"} & set(names):
        return Other("keras", "a Keras archive, which is not read here; its layers may hold code")
    return None
