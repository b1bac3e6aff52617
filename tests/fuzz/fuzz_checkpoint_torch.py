"""A file of torch.save, of any form and age: its pickle is data, what it says of its storages is checked, and no code in it is missed."""

from __future__ import annotations

from collections.abc import Callable

from tests.fuzz.checkpoint_files import LEGACY, NAMES, PICKLE, torch_zip
from tests.fuzz.checkpoint_verbs import reader
from tests.fuzz.named_code import code_in
from tests.fuzz.pickle_changes import mutate as mutate
from tests.fuzz.pickle_changes import stretched

COVERED = ["torch_reading", "tensor_reading", "checkpoint_formats"]
MAX_BYTES = 8192
TIMEOUT_S = 60
SEEDS = [
    PICKLE,
    LEGACY,
    torch_zip(),
    torch_zip(b"\x80\x04\x8c\x05torch\x8c\x09os.system\x93\x8c\x01x\x85R."),
    b"(dp0\nS'step'\np1\nI7\nsS'lr'\nF0.5\ns.",
    b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00]\x94(K\x01\x88\x8f\x94(K\x02\x90e.",
]
WORDS = [*NAMES, b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"\x8a\xff", b"ustar", b"L" + b"9" * 5000 + b"L\n"]


def target() -> Callable[[bytes], None]:
    read = reader(".pt", code_in)
    return lambda data: read(stretched(data))
