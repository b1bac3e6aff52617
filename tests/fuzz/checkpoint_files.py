"""For the targets that read checkpoints: real files, as small as can be, made by hand; nothing is ever unpickled."""

from __future__ import annotations

import io
import json
import struct
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

SOURCE = Path(__file__).resolve().parents[2] / "skills" / "checkpoint-manager" / "src"
OPCODES = [
    bytes([code])
    for code in b".()0123:BCFGIJKLMNPQRSTUVX]abcdeghijlopqrstu}\x80\x81\x82\x85\x86\x87\x88\x89\x8a\x8c\x8f\x90\x91\x92\x93\x94\x95"
]
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


def reader(suffix: str, verbs: tuple[str, ...] = ("inspect", "verify", "tensors")) -> Callable[[bytes], None]:
    """Asks the verbs about a file with these bytes. Each answers, or refuses in words."""
    sys.path.insert(0, str(SOURCE))
    import trainyard_shell as shell
    from checkpoint_formats import inspection
    from checkpoint_formats.any_path import verify_other

    shell.progress = lambda *_: None  # type: ignore[assignment]
    path = Path(tempfile.mkdtemp(prefix="trainyard-fuzz-")) / f"model{suffix}"
    asked = {
        "inspect": lambda: inspection.inspect(str(path), 5),
        "verify": lambda: verify_other(str(path), {}, 5),
        "tensors": lambda: inspection.tensors(str(path), "", True, 5),
    }

    def read(data: bytes) -> None:
        path.write_bytes(data)
        for verb in verbs:
            try:
                asked[verb]()
            except shell.SkillError as error:
                assert error.code in ("usage", "not-found", "permission"), error.code

    return read


def mutate_pickle(data: bytes, random: Random) -> bytes:
    """Opcodes and names put in, doubled or taken out, where bytes alone would tear the pickle."""
    changed = bytearray(data)
    for _ in range(random.randrange(1, 6)):
        at = random.randrange(len(changed) + 1)
        match random.randrange(4):
            case 0:
                changed[at:at] = random.choice(OPCODES + NAMES)
            case 1:
                del changed[at : at + random.randrange(1, 12)]
            case 2:
                changed[at:at] = changed[at : at + random.randrange(1, 40)]
            case 3:
                changed[at : at + 1] = random.choice(OPCODES)
    return bytes(changed)
