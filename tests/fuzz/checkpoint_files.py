"""For the targets that read checkpoints: real files, as small as can be, made by hand; nothing is ever unpickled."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from typing import Any

NAMES = [
    b"cos\nsystem\n",
    b"\x8c\x05torch\x8c\x09os.system\x93",
    b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"ctorch\nFloatStorage\n",
    b"ccollections\nOrderedDict\n",
]


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


TENSOR = (
    b"ctorch._utils\n_rebuild_tensor_v2\n(("
    + text("storage")
    + b"ctorch\nFloatStorage\n"
    + text("0")
    + text("cpu")
    + b"K\x04tQK\x00K\x02K\x02\x86K\x02K\x01\x86\x89}tR"
)
PICKLE = (
    b"\x80\x02}(" + text("w") + TENSOR + text("step") + b"K\x07" + text("betas") + b"G?\xf0\x00\x00\x00\x00\x00\x00K\x02\x86u."
)
MAGIC = b"\x80\x02\x8a\x0a" + 0x1950A86A20F9469CFC6C.to_bytes(10, "little") + b"."
LEGACY = (
    MAGIC
    + b"\x80\x02M\xe9\x03.\x80\x02}"
    + text("little_endian")
    + b"\x88s."
    + PICKLE
    + b"\x80\x02]"
    + text("0")
    + b"a."
    + (4).to_bytes(8, "little")
    + bytes(16)
)


def torch_zip(pickle: bytes = PICKLE) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in (("data.pkl", pickle), ("byteorder", b"little"), ("data/0", bytes(16)), ("version", b"3\n")):
            archive.writestr(zipfile.ZipInfo(f"a/{name}"), content)
    return data.getvalue()


def safetensors(entries: dict[str, Any], data: bytes) -> bytes:
    header = json.dumps(entries).encode()
    return len(header).to_bytes(8, "little") + header + data
