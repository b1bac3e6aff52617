"""Whatever way a pickle names code, it is said, and no verb goes on with the file; what only builds data is not suspected."""

from __future__ import annotations

import ast
import collections
import io
import pickle
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from damaged_samples import state_dict, tensor, text, torch_zip
from made_checkpoints import call
from many_calls import call_many

WEIGHTS = tensor("0", (2, 2), (2, 1), 4)
STORAGES = {"0": bytes(16)}


def short(value: str) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value.encode()


def called(opcodes: bytes) -> bytes:
    """A tensor, and beside it what calls the value that the opcodes bring."""
    return b"\x80\x04}(" + text("w") + WEIGHTS + text("z") + opcodes + short("touch marker") + b"\x85Ru."


def stack_global(module: str, name: str) -> bytes:
    return short(module) + short(name) + b"\x93"


def old_global(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


REACHED = {
    "torch.os.system": stack_global("torch", "os.system"),
    "torch.serialization.os.system": stack_global("torch.serialization", "os.system"),
    "torch.serialization.os.popen": old_global("torch.serialization", "os.popen"),
    "torch.storage._load_from_bytes": stack_global("torch.storage", "_load_from_bytes"),
    "torch.utils.cpp_extension.load_inline": stack_global("torch.utils", "cpp_extension.load_inline"),
    "torch._utils.sys.modules": stack_global("torch._utils", "sys.modules"),
    "torch.Tensor.__class__": stack_global("torch", "Tensor.__class__"),
    "torch._dynamo.config": stack_global("torch._dynamo", "config"),
    "torch.from_file": old_global("torch", "from_file"),
    "numpy.load": old_global("numpy", "load"),
    "numpy.core.multiarray.fromfile": old_global("numpy.core.multiarray", "fromfile"),
    "numpy.f2py.crackfortran.myeval": old_global("numpy.f2py.crackfortran", "myeval"),
    "collections.abc.sys.exit": stack_global("collections.abc", "sys.exit"),
    "collections._sys.exit": stack_global("collections", "_sys.exit"),
    "builtins.__import__": old_global("builtins", "__import__"),
    "builtins.getattr": stack_global("builtins", "getattr"),
    "__builtin__.apply": old_global("__builtin__", "apply"),
    "commands.getoutput": old_global("commands", "getoutput"),
    "copyreg.__reduce_ex__": old_global("copyreg", "__reduce_ex__"),
    "functools.partial": old_global("functools", "partial"),
    "operator.attrgetter": old_global("operator", "attrgetter"),
    "_operator.methodcaller": old_global("_operator", "methodcaller"),
    "logging.config.fileConfig": old_global("logging.config", "fileConfig"),
    "zipfile.ZipFile": old_global("zipfile", "ZipFile"),
    "code.InteractiveConsole": old_global("code", "InteractiveConsole"),
    "types.FunctionType": old_global("types", "FunctionType"),
    "somelib.Popen": old_global("somelib", "Popen"),
    "somelib.shell.system": old_global("somelib.shell", "system"),
    "somelib.run_anything": old_global("somelib", "run_anything"),
    "somelib.Trainer.start": stack_global("somelib", "Trainer.start"),
    "__main__.os.system": stack_global("__main__", "os.system"),
}
"""What is named -> the opcodes that bring it."""

COMMAND = short("touch marker")
OTHER_WAYS = {
    "posix.system (INST)": (b"\x80\x02(" + COMMAND + b"iposix\nsystem\n.", "posix.system"),
    "posix.system (OBJ)": (b"\x80\x02(cposix\nsystem\n" + COMMAND + b"o.", "posix.system"),
    "posix.system (NEWOBJ)": (b"\x80\x02cposix\nsystem\n" + COMMAND + b"\x85\x81.", "posix.system"),
    "posix.system (NEWOBJ_EX)": (b"\x80\x04cposix\nsystem\n" + COMMAND + b"\x85}\x92.", "posix.system"),
    "posix.system (memo)": (b"\x80\x02cposix\nsystem\nq\x000h\x00" + COMMAND + b"\x85R.", "posix.system"),
    "posix.system (never called)": (b"\x80\x02cposix\nsystem\n.", "posix.system"),
    "(copyreg extension 7)": (b"\x80\x02\x83\x07\x00" + COMMAND + b"\x85R.", "(copyreg extension 7)"),
    "(a computed name)": (b"\x80\x04" + short("o") + b"\x85" + short("x") + b"\x93)R.", "(a computed name)"),
    "posix.system (persistent id)": (b"\x80\x02(cposix\nsystem\n" + COMMAND + b"tQ.", "posix.system"),
    "posix.system (state)": (b"\x80\x02csomelib\nThing\n)\x81cposix\nsystem\nb.", "posix.system"),
    "posix.system (key)": (b"\x80\x02}(cposix\nsystem\nK\x01u.", "posix.system"),
    "posix.system (in a nested pickle)": (pickle.dumps({"blob": b"\x80\x02cposix\nsystem\n."}, 4), "posix.system"),
    "posix.system (nested, protocol 2)": (pickle.dumps({"blob": b"\x80\x02cposix\nsystem\n."}, 2), "posix.system"),
    "a function behind a rebuilder": (
        b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n(csomelib\nrun_it\nctorch\nTensor\n)}tR.",
        "somelib.run_it",
    ),
    "behind a thousand unknown names": (
        b"\x80\x02(" + b"".join(f"csomelib\nThing{number}\n".encode() for number in range(1100)) + b"cposix\nsystem\nt.",
        "posix.system",
    ),
    "protocol 0": (b"cposix\nsystem\np0\n(S'touch marker'\np1\ntp2\nRp3\n.", "posix.system"),
}


def cases(folder: Path) -> dict[str, tuple[Path, str]]:
    """What -> (a file that names it, the name)."""
    found = {}
    for number, (name, opcodes) in enumerate(REACHED.items()):
        found[name] = torch_zip(folder / f"reached-{number}.pt", called(opcodes), STORAGES), name
    for number, (what, (payload, name)) in enumerate(OTHER_WAYS.items()):
        found[what] = torch_zip(folder / f"other-{number}.pt", payload), name
        (folder / f"bare-{number}.pkl").write_bytes(payload)
        found[f"{what}, bare"] = folder / f"bare-{number}.pkl", name
    return found


def test_code_is_named_whatever_way_leads_to_it(tmp_path: Path) -> None:
    files = cases(tmp_path)
    verbs = ("inspect", "verify")
    answers = iter(call_many([verb, path] for path, _ in files.values() for verb in verbs))
    for what, (_, name) in files.items():
        for verb in verbs:
            answer = next(answers)
            told = answer.checks("fail").get("pickle.names", "")
            assert (answer.code, f"{name}: would run code" in told) == (1, True), f"{what}: {verb}: {answer.document['checks']}"
            assert answer.data.get("verdict") != "intact", what


def test_no_verb_goes_on_with_a_file_that_names_code(tmp_path: Path) -> None:
    for number, (name, opcodes) in enumerate(list(REACHED.items())[:3]):
        path = torch_zip(tmp_path / f"{number}.pt", called(opcodes), STORAGES)
        out = tmp_path / f"{number}.safetensors"
        words = [["tensors", path], ["compare", path, path], ["convert", path, out], ["convert", path, out, "--accept", name]]
        for answer in call_many(words):
            assert (answer.code, answer.error, name in answer.document["error"]["message"]) == (2, "usage", True)
        assert not out.exists()


def test_the_whole_is_unsafe_where_only_loading_it_is_wrong(tmp_path: Path) -> None:
    path = torch_zip(tmp_path / "model.pt", called(REACHED["torch.os.system"]), STORAGES)
    answer = call("verify", path)
    assert (answer.data["verdict"], answer.data["parts"][0]["status"]) == ("unsafe", "fail")
    sound = torch_zip(tmp_path / "sound.pt", state_dict(("w", WEIGHTS)), STORAGES)
    assert call("verify", sound).data["verdict"] == "intact", "control"


def test_a_part_of_a_folder_that_names_code_is_found(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    torch_zip(tmp_path / "pytorch_model.bin", state_dict(("w", WEIGHTS)), STORAGES)
    assert [call(verb, tmp_path).code for verb in ("inspect", "verify")] == [0, 0], "control"
    torch_zip(tmp_path / "pytorch_model.bin", called(REACHED["torch.os.system"]), STORAGES)
    for verb in ("inspect", "verify"):
        assert "torch.os.system" in call(verb, tmp_path).checks("fail")["pickle.names"], verb
    torch_zip(tmp_path / "pytorch_model.bin", state_dict(("w", WEIGHTS)), STORAGES)
    torch_zip(tmp_path / "training_args.bin", called(REACHED["torch.os.system"]))
    answer = call("verify", tmp_path)
    assert answer.data["verdict"] in ("unsafe", "damaged") and "torch.os.system" in answer.checks("fail")["pickle.names"]


DATA = {
    "numbers": {"epoch": 3, "lr": 1e-4, "best": None, "done": True, "names": ("a", "b"), "tags": {"x"}, "raw": b"\x80\x04abc."},
    "collections": [
        collections.OrderedDict(a=1),
        collections.defaultdict(dict),
        collections.Counter("aab"),
        collections.deque([1]),
    ],
    "arrays": {"a": np.arange(3), "n": np.float64(2.5), "rng": np.random.RandomState(1), "gen": np.random.default_rng(1)},
    "paths": [Path("/data/train"), complex(1, 2), range(3), slice(1, 2), bytearray(b"x"), ValueError("no")],
}


@pytest.mark.parametrize("protocol", range(6))
def test_what_only_builds_data_is_not_suspected(tmp_path: Path, protocol: int) -> None:
    words = []
    for name, value in DATA.items():
        words.append(["inspect", torch_zip(tmp_path / f"{name}.pt", pickle.dumps(value, protocol))])
    for name, answer in zip(DATA, call_many(words), strict=True):
        assert (answer.code, answer.document["checks"]) == (0, []), name


def test_a_class_of_somebodys_is_not_known_and_not_called_code(tmp_path: Path) -> None:
    for number, opcodes in enumerate(
        (old_global("train", "Config") + b")\x81", stack_global("train", "Trainer.Config") + b")R")
    ):
        path = torch_zip(tmp_path / f"{number}.pt", b"\x80\x04" + opcodes + b".")
        answer = call("verify", path)
        assert (answer.code, answer.data["verdict"], answer.checks("fail")) == (0, "intact", {})
        assert "not known to be harmless" in answer.checks("warn")["pickle.names"]


def test_arrays_of_objects_and_the_oldest_archives_are_judged_by_name(tmp_path: Path) -> None:
    objects = io.BytesIO()
    header = "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
    objects.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + b"\x80\x02cposix\nsystem\n.")
    (tmp_path / "a.npy").write_bytes(objects.getvalue())
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", objects.getvalue())
    with tarfile.open(tmp_path / "old.pt", "w") as tar:
        for name, data in (
            ("storages", b"\x80\x02K\x00.\x80\x02]."),
            ("tensors", b"\x80\x02K\x00."),
            ("pickle", OTHER_WAYS["protocol 0"][0]),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    np.save(tmp_path / "plain.npy", np.arange(3))
    for name in ("a.npy", "a.npz", "old.pt"):
        answer = call("verify", tmp_path / name)
        assert answer.data["verdict"] == "unsafe" and "posix.system" in answer.checks("fail")["pickle.names"], name
    assert call("verify", tmp_path / "plain.npy").data["verdict"] == "unknown", "control"


def npy(header: str, data: bytes, version: int = 1) -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + len(text).to_bytes(2 if version == 1 else 4, "little") + text + data


HEADERS = {
    "as NumPy writes it": "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
    "other quotes": '{"descr": "|O", "fortran_order": False, "shape": (1,)}',
    "a joined word": "{'de' 'scr': '|' 'O', 'fortran_order': False, 'shape': (1,)}",
    "an escape": "{'descr': '|\\x4f', 'fortran_order': False, 'shape': (1,)}",
    "a field of a record": "{'descr': [('a', '<f4'), ('b', [('c', '|O')])], 'fortran_order': False, 'shape': (1,)}",
    "a word of several types": "{'descr': 'f4,O', 'fortran_order': False, 'shape': (1,)}",
    "an array's type": "{'descr': ('O', (2,)), 'fortran_order': False, 'shape': (1,)}",
    "its name": "{'descr': 'object', 'fortran_order': False, 'shape': (1,)}",
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
@pytest.mark.parametrize("version", [1, 2])
def test_an_array_of_objects_is_one_however_its_header_says_it(tmp_path: Path, header: str, version: int) -> None:
    """NumPy takes each of these headers for an array of objects (its format.py: literal_eval, then dtype)."""
    dtype = ast.literal_eval(header)["descr"]
    assert np.lib.format.descr_to_dtype(dtype).hasobject, "control"
    (tmp_path / "a.npy").write_bytes(npy(header, b"\x80\x02cposix\nsystem\n.", version))
    answer = call("verify", tmp_path / "a.npy")
    assert answer.data["verdict"] == "unsafe" and "posix.system" in answer.checks("fail")["pickle.names"]


PLAIN = "{'descr': [('O', '<f4')], 'fortran_order': False, 'shape': (1,)}"
UNREAD = {
    "a long header": npy("{'descr': '|O'," + " " * 70_000 + "'fortran_order': False, 'shape': (1,)}", b"", 2),
    "no literal": npy("{'descr': f()}", b""),
    "brackets": npy("[" * 5000, b""),
}


@pytest.mark.parametrize("data", UNREAD.values(), ids=UNREAD)
def test_a_header_that_is_not_read_is_said_to_be(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.npy").write_bytes(data)
    assert "not all read" in str(call("inspect", tmp_path / "a.npy").data["evidence"])
    (tmp_path / "a.npy").write_bytes(npy(PLAIN, b"\0\0\0\0"))
    assert "not all read" not in str(call("inspect", tmp_path / "a.npy").data["evidence"]), "control: a field that is called O"


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_arrays_whose_compressed_bytes_are_damaged_are_unknown(tmp_path: Path, method: int) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a.npy", npy(PLAIN, bytes(4000)))
    data = bytearray(path.read_bytes())
    begin = 30 + len("a.npy") + (9 if method == zipfile.ZIP_LZMA else 0)
    data[begin : begin + 20] = bytes(255 - each for each in data[begin : begin + 20])
    path.write_bytes(data)
    for verb in ("verify", "inspect"):
        answer = call(verb, path)
        assert (answer.code, "not all read" in str(answer.data)) == (1, True), answer
