"""A .npy or .npz of unknown origin: no code in the pickle of an array of objects is missed, whatever its header is like."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from random import Random
from typing import Any

from tests.fuzz.checkpoint_files import NAMES
from tests.fuzz.checkpoint_verbs import reader
from tests.fuzz.named_code import code_in
from tests.fuzz.pickle_changes import mutate_pickle

COVERED = [
    "checkpoint_formats.numpy_files",
    "checkpoint_formats.other_formats",
    "checkpoint_formats.file_kinds",
    "torch_reading",
]
TIMEOUT_S = 60
CODE = b"\x80\x04\x8c\x05torch\x8c\x09os.system\x93\x8c\x01x\x85R."
HEADERS = [
    "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }",
    "{'descr': [('a', '<i4'), ('b', '|O')], 'fortran_order': False, 'shape': (1,), }",
    "{'descr': [('a', '<f4', (2,)), ('b', [('c', 'O')])], 'fortran_order': True, 'shape': (), }",
    '{"descr": "o" "bject", "shape": (1,), "fortran_order": False}',
    "{'descr': ('<i4,O', (2,)), 'fortran_order': False, 'shape': (1,), }",
]


def array(header: str, data: bytes, version: int = 1) -> bytes:
    """As NumPy writes it, but for the padding."""
    words = header.encode() + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + len(words).to_bytes(2 if version == 1 else 4, "little") + words + data


def archive(*arrays: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        for number, each in enumerate(arrays):
            made.writestr(zipfile.ZipInfo(f"{number}.npy"), each)
    return file.getvalue()


SEEDS = [
    *(array(header, CODE) for header in HEADERS),
    array(HEADERS[0], CODE, version=2),
    archive(array(HEADERS[1], bytes(16)), array(HEADERS[0], CODE)),
]
WORDS = [*NAMES, b"|O", b"'descr'", b"object", b"(", b"[", b"\x93NUMPY\x01\x00", b"\\x4f", b"False", b"f4", b"V8"]


def mutate(data: bytes, random: Random) -> bytes:
    """Another header, another pickle behind it; in an archive or alone."""
    kind = random.randrange(3)
    if kind == 0:
        return array(random.choice(HEADERS), mutate_pickle(CODE, random), random.randint(1, 3))
    if kind == 1:
        return archive(*(array(random.choice(HEADERS), mutate_pickle(CODE, random)) for _ in range(random.randint(1, 3))))
    header = bytearray(random.choice(HEADERS).encode())
    at = random.randrange(len(header))
    header[at : at + random.randint(0, 3)] = random.choice(WORDS)
    return array(header.decode("latin-1").encode("ascii", "ignore").decode(), CODE)


def is_told(told: Any) -> bool:
    """No array is ever called right, so that a name of code has to be a failure, or what was not read has to be told."""
    return any(check.status == "fail" for check in told.checks) or "not all read" in f"{told.data} {told.checks}"


def target() -> Callable[[bytes], None]:
    from numpy.lib import format as numpy_format

    def objects_in(data: bytes) -> str | None:
        """What the pickle names behind a header that NumPy itself takes for one of objects."""
        file = io.BytesIO(data)
        try:
            version = numpy_format.read_magic(file)
            read = numpy_format.read_array_header_1_0 if version == (1, 0) else numpy_format.read_array_header_2_0
            has_objects = version < (3, 0) and read(file)[2].hasobject
        except Exception:  # whatever NumPy makes of damaged bytes
            return None
        return code_in(data[file.tell() :]) if has_objects else None

    def code_of(data: bytes) -> str | None:
        if data[:2] != b"PK":
            return objects_in(data)
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as opened:
                return next(filter(None, (objects_in(opened.read(name)) for name in opened.namelist())), None)
        except Exception:  # whatever zipfile makes of damaged bytes
            return None

    return reader(".npz", code_of, is_told)
