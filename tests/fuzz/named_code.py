"""Which code a pickle names, as Python's own pickletools tells it: what the readers under test must not miss. Nothing is unpickled.

It knows few names and no others: what it finds is code without doubt. A pickle without an end mark names nothing here.
"""

from __future__ import annotations

import io
import pickletools
import zipfile

RUNS = {"os", "posix", "nt", "subprocess", "pty", "runpy", "socket", "ctypes", "importlib", "shutil", "commands"}
"""Modules of which everything is code, reached directly or with dots through another one."""
BUILTINS = {"builtins", "__builtin__"}
CALLS = {"eval", "exec", "execfile", "compile", "open", "getattr", "__import__"}
TEXTS = {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE"}
NO_VALUE = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "PROTO", "FRAME"}


def code_in(data: bytes) -> str | None:
    """The first name of code in a file of torch.save: a zip archive, or pickles one after another. None: none without doubt."""
    if data[:2] == b"PK":
        data = _pickle_of(data)
    file = io.BytesIO(data)
    while file.tell() < len(data):
        names = names_in(file)
        if names is None:
            return None
        if code := next((f"{module}.{name}" for module, name in names if is_code(module, name)), None):
            return code
    return None


def _pickle_of(data: bytes) -> bytes:
    """The pickle in the archive that torch would take: that of the folder of its first member."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            folder = names[0].partition("/")[0]
            is_script = f"{folder}/constants.pkl" in names
            return b"" if is_script else archive.read(f"{folder}/data.pkl")
    except Exception:  # whatever zipfile makes of a damaged archive: then nothing is known of it
        return b""


def names_in(file: io.BytesIO) -> list[tuple[str, str]] | None:
    """(module, name) of what one pickle imports; None where it is not a whole one."""
    found: list[tuple[str, str]] = []
    texts: list[str | None] = []
    try:
        for opcode, arg, _ in pickletools.genops(file):
            if opcode.name in ("GLOBAL", "INST"):
                found.append(tuple(str(arg).split(" ", 1)))  # type: ignore[arg-type]
            elif opcode.name == "STACK_GLOBAL" and len(texts) > 1 and texts[-1] is not None and texts[-2] is not None:
                found.append((texts[-2], texts[-1]))
            if opcode.name not in NO_VALUE:
                texts.append(arg if opcode.name in TEXTS else None)
    except Exception:  # whatever pickletools makes of damaged bytes
        return None
    return found


def is_code(module: str, name: str) -> bool:
    inside, words = module.split("."), name.split(".")
    if inside[0] in RUNS or RUNS & {*words[:-1]}:
        return True
    return bool(BUILTINS & {inside[0], *words[:-1]}) and words[-1] in CALLS
