"""A pickle that would run code is named and never run; one that is torn or absurd ends in a clear answer with bounded work."""

from __future__ import annotations

import os
import pickle
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from damaged_samples import with_pickle
from made_checkpoints import PROGRAM, call
from many_calls import call_many

SOURCE = PROGRAM.parent
MARKER = "ran"


class Calls:
    """Pickles as a call of `function` with `args`."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.function, self.args = function, args

    def __reduce__(self) -> Any:
        return self.function, self.args


def by_name(module: str, name: str, *args: Any) -> bytes:
    """A pickle that calls module.name, which need not be importable here; by hand, protocol 2."""
    arguments = b"".join(b"X" + struct.pack("<I", len(arg)) + arg for arg in (str(each).encode() for each in args))
    return b"\x80\x02c" + f"{module}\n{name}\n".encode() + b"(" + arguments + b"tR."


PAYLOADS: dict[str, Callable[[Path], bytes]] = {
    "os.system": lambda marker: pickle.dumps({"model": Calls(os.system, f"touch {marker}")}, 4),
    "posix.system": lambda marker: pickle.dumps(Calls(os.system, f"touch {marker}"), 0),
    "builtins.eval": lambda marker: pickle.dumps([Calls(eval, f"open({str(marker)!r}, 'w')")], 2),
    "builtins.getattr": lambda marker: pickle.dumps(Calls(getattr, "", "join"), 2),
    "torch.hub.load": lambda marker: by_name("torch.hub", "load", "somebody/thing", "model"),
    "torch.hub.load (dotted)": lambda marker: by_name("torch", "hub.load", "somebody/thing", "model"),
    "subprocess.Popen": lambda marker: by_name("subprocess", "Popen", "true"),
    "torch.storage._load_from_bytes": lambda marker: by_name("torch.storage", "_load_from_bytes", "x"),
    "os.system (INST)": lambda marker: (
        b"(X" + struct.pack("<I", 6 + len(str(marker))) + f"touch {marker}".encode() + b"ios\nsystem\n."
    ),
    "os.system (STACK_GLOBAL)": lambda marker: (
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c" + bytes([6 + len(str(marker))]) + f"touch {marker}".encode() + b"\x85R."
    ),
    "(a computed function)": lambda marker: b"\x80\x02cbuiltins\ngetattr\ncos\npath\nX\x04\x00\x00\x00joinq\x00\x86R)R.",
    "(copyreg extension 7)": lambda marker: b"\x80\x02\x82\x07)R.",
}


NAMED = {
    "os.system": "posix.system",
    "builtins.eval": "__builtin__.eval",
    "builtins.getattr": "__builtin__.getattr",
    "(a computed function)": "(a computed function)",
    "(copyreg extension 7)": "(copyreg extension 7)",
}
"""How the pickler spells it: os.system is posix's, and protocol 2 has Python 2's names."""


@pytest.fixture
def place() -> Any:
    """A short path: it must fit into a one-byte length."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="py") as folder:
        yield Path(folder)


@pytest.mark.parametrize("name", PAYLOADS)
@pytest.mark.parametrize("packed", [False, True], ids=["bare", "in an archive"])
def test_a_pickle_that_would_run_code_is_named_and_never_run(torch_samples: Path, place: Path, name: str, packed: bool) -> None:
    marker = place / MARKER
    payload = PAYLOADS[name](marker)
    path = place / "model.pt"
    if packed:
        with_pickle(torch_samples / "weights.pt", path, payload)
    else:
        path.write_bytes(payload)
    named = NAMED.get(name, name.partition(" (")[0] or name)
    out = place / "out.safetensors"
    words = [["inspect", path], ["verify", path], ["convert", path, out], ["tensors", path], ["compare", path, path]]
    *judged, refused, _, _ = call_many(words)
    for verb, answer in zip(("inspect", "verify"), judged, strict=True):
        failed = " ".join(check["summary"] for check in answer.document["checks"] if check["status"] == "fail")
        assert (answer.code, f"{named}: would run code" in failed) == (1, True), f"{verb}: {failed}"
    assert (refused.code, out.exists()) == (2, False)
    assert not marker.exists()


@pytest.mark.parametrize("name", ["os.system", "posix.system", "builtins.eval", "os.system (INST)", "os.system (STACK_GLOBAL)"])
def test_the_same_pickles_do_run_when_they_are_unpickled(place: Path, name: str) -> None:
    marker = place / MARKER
    code = "import pickle, sys; pickle.loads(sys.stdin.buffer.read())"
    subprocess.run([sys.executable, "-c", code], input=PAYLOADS[name](marker), timeout=60, check=False, capture_output=True)
    assert marker.exists()


def test_a_class_that_is_not_known_is_named_as_such(torch_samples: Path, transformers_samples: Path, tmp_path: Path) -> None:
    answer = call("verify", torch_samples / "whole-model.pt")
    assert answer.code == 0, "its bytes are intact"
    assert any("torch.nn.modules.linear.Linear" in words for words in warnings_of(answer))
    trainer = call("verify", transformers_samples / "trainer" / "checkpoint-2")
    assert any("training_args.bin" in words and "TrainingArguments" in words for words in warnings_of(trainer))
    refused = call("convert", torch_samples / "whole-model.pt", tmp_path / "out.safetensors")
    assert (refused.code, "--accept" in refused.document["error"]["hint"]) == (2, True)
    accepted = ["--accept", "torch.nn.modules.linear.Linear"]
    assert call("convert", torch_samples / "whole-model.pt", tmp_path / "out.safetensors", *accepted).code == 0


def warnings_of(answer: Any) -> list[str]:
    return [check["summary"] for check in answer.document["checks"] if check["status"] == "warn"]


def test_what_the_real_writers_pickle_is_harmless(torch_samples: Path, lightning_samples: Path) -> None:
    for path in (
        torch_samples / "plain.pt",
        torch_samples / "legacy.pt",
        torch_samples / "dcp" / "step-3",
        lightning_samples / "last.ckpt",
    ):
        assert warnings_of(call("verify", path)) == []


ABSURD = {
    "a length of 2**62": b"\x80\x04\x8e" + (1 << 62).to_bytes(8, "little") + b"x",
    "a length of 2**63": b"\x80\x04\x8d" + (1 << 63).to_bytes(8, "little") + b"x",
    "4 GB of text": b"\x80\x02X\xff\xff\xff\xffx",
    "a number of 2 GB": b"\x80\x02\x8b\xff\xff\xff\x7f1",
    "a number of a million digits": b"I" + b"9" * 1_000_000 + b"\n.",
    "a line without end": b"c" + b"a" * 3_000_000,
    "a million marks": b"\x80\x02" + b"(" * 2_000_000 + b".",
    "nested deep": b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
    "shared tuples as a key": b"\x80\x02}(K\x01" + b"2\x86" * 200 + b"K\x00u.",
    "shared lists": b"\x80\x02)\x85" + b"2\x86" * 60 + b".",
    "a list in itself": b"\x80\x02]q\x00h\x00a.",
    "nothing but an end": b"\x80\x02.",
    "no stack": b"\x80\x02R.",
    "memo never stored": b"\x80\x02h\x07.",
    "a mark as a value": b"\x80\x02(.",
    "items for a number": b"\x80\x02K\x01K\x02a.",
    "half a pair": b"\x80\x02}(K\x01u.",
}

SOUND = {"inspect": {"shared lists", "a list in itself", "shared tuples as a key", "nested deep"}}
"""Pickles that nobody can walk through; `inspect` need not. A key is never walked through."""


@pytest.mark.parametrize("packed", [False, True], ids=["bare", "in an archive"])
def test_absurd_pickles_end_in_an_answer_with_bounded_work(torch_samples: Path, tmp_path: Path, packed: bool) -> None:
    bound = ["prlimit", f"--as={1 << 30}", "--cpu=60"]
    paths = {name: tmp_path / f"{number}.pt" for number, name in enumerate(ABSURD)}
    for name, path in paths.items():
        if packed:
            with_pickle(torch_samples / "weights.pt", path, ABSURD[name])
        else:
            path.write_bytes(ABSURD[name])
    verbs = ("verify",) if packed else ("inspect", "verify")
    calls = [(verb, name) for verb in verbs for name in paths]
    answers = call_many(([verb, paths[name]] for verb, name in calls), before=bound)
    for (verb, name), answer in zip(calls, answers, strict=True):
        sound = name in SOUND.get(verb, {"shared tuples as a key"})
        assert answer.code in ((0, 1) if sound else (1, 2)), f"{name}: {verb}"


def test_zip_bombs_are_refused_by_what_they_claim(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}, 2))
        archive.writestr("archive/data/0", bytes(100 << 20))
    answer = call("verify", path)
    assert (answer.code, "would grow from" in str(answer.document)) == (1, True)


def test_members_that_share_bytes_are_refused(tmp_path: Path) -> None:
    """A member whose bytes hold another member, both with right CRCs: an archive of those can claim any size."""
    path, name, data = tmp_path / "overlap.pt", b"archive/data/1", bytes(1000)
    header = struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 0, 0, 0, 33, zlib.crc32(data), len(data), len(data), len(name), 0)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}, 2))
        archive.writestr("archive/data/0", header + name + data)
        outer = archive.filelist[1]
        inner = zipfile.ZipInfo(name.decode())
        inner.header_offset = outer.header_offset + 30 + len("archive/data/0")
        inner.CRC, inner.file_size, inner.compress_size = zlib.crc32(data), len(data), len(data)
        archive.filelist.append(inner)
    with zipfile.ZipFile(path) as archive:
        assert archive.read(outer) == header + name + data, "an ordinary reader takes the outer one"
    answer = call("verify", path)
    assert (answer.code, "overlaps" in answer.checks("fail")["checkpoint.intact"]) == (1, True)


@pytest.mark.parametrize("name", ["../../evil", "/etc/evil", "archive/../../evil", "..\\evil"])
def test_member_names_that_point_out_of_the_archive_are_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / "path.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}, 2))
        archive.writestr(name, b"x")
    answer = call("verify", path)
    assert (answer.code, "points out of the archive" in str(answer.document)) == (1, True)
    assert list(tmp_path.iterdir()) == [path]


FUZZ = """
import io, random, sys
from pathlib import Path
from torch_reading import pickle_reader, pickle_values, tensors
from tensor_reading.layout import LayoutError

def locate(key):
    return Path("x"), 0, 1 << 40

data, source = Path(sys.argv[1]).read_bytes(), random.Random(int(sys.argv[2]))
outcomes = set()
for number in range(int(sys.argv[3])):
    changed = bytearray(data)
    for _ in range(source.randrange(1, 6)):
        at = source.randrange(len(changed))
        match source.randrange(3):
            case 0: changed[at] = source.randrange(256)
            case 1: del changed[at : at + source.randrange(1, 20)]
            case 2: changed[at:at] = source.randbytes(source.randrange(1, 9))
    try:
        tensors.contents(pickle_reader.read_pickle_bytes(bytes(changed)).value, locate)
        outcomes.add("read")
    except (pickle_values.PickleError, LayoutError) as error:
        outcomes.add(type(error).__name__)
print(sorted(outcomes))
"""


@pytest.mark.parametrize("name", ["plain.pt", ".metadata"])
def test_damaged_pickles_are_read_or_refused_and_nothing_else(torch_samples: Path, tmp_path: Path, name: str) -> None:
    if name == ".metadata":
        data = (torch_samples / "dcp" / "step-3" / name).read_bytes()
    else:
        with zipfile.ZipFile(torch_samples / name) as archive:
            data = archive.read(next(each for each in archive.namelist() if each.endswith("data.pkl")))
    (tmp_path / "data.pkl").write_bytes(data)
    command = [sys.executable, "-c", FUZZ, str(tmp_path / "data.pkl"), "11", "800"]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "PickleError" in done.stdout and "read" in done.stdout
