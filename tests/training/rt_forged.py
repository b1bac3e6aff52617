"""Steps that are wrong in every way a file can be wrong, each sealed as well as any writer would: a digest can be computed by anybody."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trainyard import checkpoint_format as fmt

from tests.training.rt_folder import header_bytes, shards

Change = Callable[[dict[str, Any]], object]


def manifest_of(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "manifest.json").read_bytes()))


def seal(folder: Path, manifest: dict[str, Any]) -> None:
    (folder / "manifest.json").write_bytes(fmt.seal(manifest))


def manifest(change: Change) -> Callable[[Path], None]:
    """A manifest with a change, sealed again."""

    def forge(folder: Path) -> None:
        content = manifest_of(folder)
        change(content)
        seal(folder, content)

    return forge


def put(folder: Path, name: str, data: bytes) -> None:
    """Another content of a file, with a manifest that agrees."""
    content = manifest_of(folder)
    content["files"][name] = fmt.digest_of(data)
    (folder / name).write_bytes(data)
    seal(folder, content)


def state(change: Change) -> Callable[[Path], None]:
    """A state.json with a change, under a manifest that agrees."""

    def forge(folder: Path) -> None:
        content = json.loads((folder / "state.json").read_bytes())
        change(content)
        put(folder, "state.json", json.dumps(content).encode())

    return forge


def header(change: Change) -> Callable[[Path], None]:
    """A shard whose header has a change, under a manifest that agrees."""

    def forge(folder: Path) -> None:
        (shard,) = shards(folder)
        length, data = header_bytes(shard), shard.read_bytes()
        content = json.loads(data[8:length])
        change(content)
        text = json.dumps(content).encode()
        put(folder, shard.name, struct.pack("<Q", len(text)) + text + data[length:])

    return forge


def offsets(change: Change) -> Callable[[Path], None]:
    """Like `header`, for the places of the blocks."""

    def forge(content: dict[str, Any]) -> None:
        places = json.loads(content["__metadata__"]["DCP_SHARDING_INFO"])
        change(places)
        content["__metadata__"]["DCP_SHARDING_INFO"] = json.dumps(places)

    return header(forge)


def member(*path: str, to: Any) -> Change:
    """Set a member, by its path."""

    def change(content: dict[str, Any]) -> None:
        for name in path[:-1]:
            content = content[name]
        content[path[-1]] = to

    return change


def without(*path: str) -> Change:
    def change(content: dict[str, Any]) -> None:
        for name in path[:-1]:
            content = content[name]
        del content[path[-1]]

    return change


def second_shard_with(key: str) -> Callable[[Path], None]:
    """A second rank's file that holds a tensor once more."""

    def forge(folder: Path) -> None:
        (shard,) = shards(folder)
        length, data = header_bytes(shard), shard.read_bytes()
        entries = json.loads(data[8:length])
        begin, end = entries[key]["data_offsets"]
        place = json.loads(entries["__metadata__"]["DCP_SHARDING_INFO"])[key]
        text = json.dumps(
            {
                key: {**entries[key], "data_offsets": [0, end - begin]},
                "__metadata__": {"DCP_SHARDING_INFO": json.dumps({key: place})},
            }
        ).encode()
        content = manifest_of(folder)
        content["world_size"] = 2
        seal(folder, content)
        put(folder, fmt.shard_name(1, 2), struct.pack("<Q", len(text)) + text + data[length + begin : length + end])
        state(lambda held: held["ranks"].update({"1": held["ranks"]["0"]}))(folder)

    return forge


def raw(data: bytes | Callable[[bytes], bytes], name: str = "manifest.json") -> Callable[[Path], None]:
    """Any bytes, sealed by nobody."""

    def forge(folder: Path) -> None:
        path = folder / name
        path.write_bytes(data(path.read_bytes()) if callable(data) else data)

    return forge


def sparse(folder: Path) -> None:
    with (folder / "manifest.json").open("r+b") as file:
        file.truncate(1 << 30)


def replaced(name: str, make: Callable[[Path], object]) -> Callable[[Path], None]:
    """Something else under a file's name."""

    def forge(folder: Path) -> None:
        path = shards(folder)[0] if name == "shard" else folder / name
        make(path)

    return forge


def into_link(path: Path) -> None:
    """The same bytes, elsewhere."""
    moved = path.parent.parent / f".moved-{path.name}"
    path.rename(moved)
    path.symlink_to(moved)


def into_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def into_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def linked_step(folder: Path) -> None:
    shutil.move(folder, folder.parent / ".moved-step")
    folder.symlink_to(folder.parent / ".moved-step")


W, B = "model.hidden.weight", "model.hidden.bias"
RNG = ("ranks", "0", "rng")
DEEP = b'{"a":' * 5000 + b"1" + b"}" * 5000
FORGED: dict[str, Callable[[Path], None]] = {
    # members of the manifest: missing
    **{
        f"manifest without {name}": manifest(without(name))
        for name in ("tensors", "files", "step", "epoch", "run_id", "incarnation", "world_size", "reasons", "end_of_epoch", "time")
    },
    # of a wrong type or out of bounds
    "tensors a list": manifest(member("tensors", to=[])),
    "a tensor without dtype": manifest(without("tensors", W, "dtype")),
    "a tensor without shape": manifest(without("tensors", W, "shape")),
    "a tensor that is a text": manifest(member("tensors", W, to="F32")),
    "dtype unknown": manifest(member("tensors", W, "dtype", to="F33")),
    "dtype a list": manifest(member("tensors", W, "dtype", to=["F32"])),
    "another dtype": manifest(member("tensors", W, "dtype", to="I32")),
    **{
        f"shape {shape}": manifest(member("tensors", W, "shape", to=shape))
        for shape in ([-5, 6], [10**30, 6], [5.0, 6], [True, 30], "56", ["5", 6], None, [5, 6, 1], [30], [2**62, 2**62])
    },
    "a tensor more than the shards hold": manifest(member("tensors", "model.extra", to={"dtype": "F32", "shape": [1]})),
    "a tensor fewer": manifest(without("tensors", B)),
    "no files": manifest(member("files", to={})),
    "files a list": manifest(member("files", to=["state.json"])),
    "state.json not listed": manifest(without("files", "state.json")),
    "shard not listed": manifest(lambda content: content["files"].pop(fmt.shard_name(0, 1))),
    **{
        f"a file {name!r}": manifest(member("files", name, to=fmt.digest_of(b"")))
        for name in ("../state.json", "/etc/passwd", "a/b", "manifest.json", "", ".hidden", "x" * 300, "nul\0")
    },
    **{f"size {size}": manifest(member("files", "state.json", "size", to=size)) for size in (-1, 1.0, "5", None, 10**30, True)},
    **{
        f"crc32 {digest!r}"[:40]: manifest(member("files", "state.json", "crc32", to=digest))
        for digest in ("0", 5, None, "z" * 8, "0" * 9)
    },
    "xxh3_128 too short": manifest(member("files", "state.json", "xxh3_128", to="00")),
    "no digest": manifest(lambda content: content["files"].update({"state.json": {"size": content["files"]["state.json"]["size"]}})),
    "a listed file that is not there": manifest(member("files", "more.bin", to=fmt.digest_of(b""))),
    "step of another folder": manifest(member("step", to=99)),
    **{f"step {step!r}": manifest(member("step", to=step)) for step in (-4, 4.0, "4", True, None)},
    **{f"epoch {epoch!r}": manifest(member("epoch", to=epoch)) for epoch in ("0", 0.5, None, True, [0])},
    **{f"val_loss {loss!r}": manifest(member("val_loss", to=loss)) for loss in ("nan", True, [1.0])},
    **{f"reasons {reasons!r}": manifest(member("reasons", to=reasons)) for reasons in ("rolling", None, [1], {"rolling": 1})},
    **{f"world_size {size!r}": manifest(member("world_size", to=size)) for size in (0, -1, 2, "1", 10**9)},
    **{f"run_id {run!r}": manifest(member("run_id", to=run)) for run in (None, 5, "", ["5f0c000000000000"])},
    "data_fingerprint a list": manifest(member("data_fingerprint", to=[])),
    "end_of_epoch 1": manifest(member("end_of_epoch", to=1)),
    "version 1.0": manifest(member("version", to=1.0)),
    "version true": manifest(member("version", to=True)),
    "a step of another run": manifest(member("run_id", to="feedfeedfeedfeed")),
    # the manifest as bytes
    "a deep manifest": raw(DEEP),
    "a manifest of a gigabyte": sparse,
    "said twice": raw(lambda text: text.replace(b'"step":4,', b'"step":2,"step":4,')),
    "not UTF-8": raw(lambda text: text.replace(b"rolling", b"r\xffl\xfeing")),
    "UTF-16": raw(lambda text: text.decode().encode("utf-16")),
    "a number without end": raw(b'{"format":"trainyard-checkpoint","version":' + b"9" * 100_000 + b"}"),
    "a list": raw(b"[]"),
    "no JSON": raw(b"\0" * 100),
    # state.json
    **{f"state without {'.'.join(path)}": state(without(*path)) for path in (
        ("shared",), ("ranks",), ("format",), ("shared", "objects"), ("shared", "config"), ("shared", "epoch"), ("shared", "step"),
        ("shared", "best_loss"), ("ranks", "0"), RNG, (*RNG, "python"), (*RNG, "numpy"), (*RNG, "torch"),
    )},
    **{f"state with {'.'.join(path)} {to!r}"[:60]: state(member(*path, to=to)) for path, to in (
        (("shared",), []), (("ranks",), [1]), (("ranks", "0"), None), (("ranks", "7"), {}), (("shared", "objects"), "x"),
        (("shared", "step"), 2), (("shared", "epoch"), "0"), (("shared", "best_loss"), "1"), ((*RNG,), []),
        ((*RNG, "python"), [3, [1], None]), ((*RNG, "python"), {"$tuple": [3, {"$tuple": [1, 2]}, None]}),
        ((*RNG, "torch"), {"$bytes": "*"}), ((*RNG, "torch"), "AAAA"), ((*RNG, "numpy"), {"$tuple": []}),
        ((*RNG, "numpy"), {"$tuple": ["PCG64", {"$bytes": ""}, 0, 0, 0.0]}),
        (("shared", "objects", "data"), {"$tuple": 5}), (("shared", "objects", "data"), {"$dict": [[{}, 1]]}),
        (("shared", "objects", "data"), {"$dict": [1]}), (("shared", "objects", "data"), {"$float": "much"}),
        (("shared", "objects", "data"), {"$bytes": 5}), (("shared", "objects", "data"), {"$tensor": "model.none"}),
        (("shared", "objects", "data"), {"$tensor": ["x"]}), (("shared", "objects", "data"), {"per_rank": True}),
    )},
    # forms that decode to nothing, or to a terabyte
    **{f"a value {form!r}"[:60]: state(lambda held, form=form: held["shared"].update(config={"x": form})) for form in (
        {"$datetime": "x"}, {"$int": "zz"}, {"$uuid": "x"}, {"$dtype": "?"}, {"$date": 5}, {"$decimal": "x"}, {"$path": 5},
        {"$array": ["<f4", [2], "AAAA"]}, {"$array": ["<f4", [10**12], "AAAA"]}, {"$array": 5}, {"$array": ["zz", [2], "AAAA"]},
        {"$scalar": [1]}, {"$scalar": ["O", [], "AAAA"]}, {"$range": ["a", 1, 2]}, {"$range": [1, 2, 0]}, {"$slice": [1]},
        {"$named": [["a", "a"], [1, 2]]}, {"$named": [["a"], []]}, {"$named": [["class"], [1]]}, {"$set": [[1]]}, {"$size": ["a"]},
        {"$dict": [[{"$set": [1]}, 1]]}, {"$complex": ["a", 1]}, {"$deque": [-1, [1]]}, {"$timedelta": [10**12, 1, 1]},
        {"$bytearray": 10**12}, {"$default": [["x"], []]}, {"$counter": [5]}, {"$ordered": {}}, {"$enum": [5, 1]},
        {"$dict": [], "more": 1},
    )},
    "a deep state": lambda folder: put(folder, "state.json", DEEP),
    "a state nested as far as a parser goes": state(lambda held: held["shared"].update(config=json.loads("[" * 400 + "]" * 400))),
    "state no JSON": lambda folder: put(folder, "state.json", b"\xff\xfe"),
    "state empty": lambda folder: put(folder, "state.json", b""),
    "state a list": lambda folder: put(folder, "state.json", b"[]"),
    # shards
    "header without places": header(without("__metadata__")),
    "header with places no JSON": header(member("__metadata__", "DCP_SHARDING_INFO", to="{")),
    "header without a tensor": header(without(B)),
    "header with another shape": header(member(W, "shape", to=[6, 5])),
    "header with another dtype": header(member(W, "dtype", to="I32")),
    "header with a huge shape": header(member(W, "shape", to=[2**40, 2**40])),
    "header with negative bytes": header(member(W, "data_offsets", to=[-120, 0])),
    "header with the bytes of another tensor": header(lambda content: content[W].update(data_offsets=[0, 120])),
    "header with text for bytes": header(member(W, "data_offsets", to="ab")),
    "places without a tensor": offsets(without(W)),
    "a block at another place": offsets(member(W, "saved_offsets", to=[1, 0])),
    "a block at a negative place": offsets(member(W, "saved_offsets", to=[-1, 0])),
    "a block at a place of more dimensions": offsets(member(W, "saved_offsets", to=[0, 0, 0])),
    "a block twice": second_shard_with(W),
    "a header longer than its file": lambda folder: put(folder, shards(folder)[0].name, b"\xff" * 64),
    "a shard without a header": lambda folder: put(folder, shards(folder)[0].name, b"abc"),
    "bytes behind the last block": lambda folder: put(folder, shards(folder)[0].name, shards(folder)[0].read_bytes() + b"\0" * 8),
    # things that are no files
    "shard a link": replaced("shard", into_link),
    "state.json a link": replaced("state.json", into_link),
    "manifest.json a link": replaced("manifest.json", into_link),
    "shard a FIFO": replaced("shard", into_fifo),
    "manifest.json a FIFO": replaced("manifest.json", into_fifo),
    "state.json a folder": replaced("state.json", into_folder),
    "shard missing": replaced("shard", Path.unlink),
    "state.json missing": replaced("state.json", Path.unlink),
}  # fmt: skip
"""What is wrong -> how to make it so in a step's folder, of the step 4 of the run 5f0c000000000000."""

HARMLESS: dict[str, Callable[[Path], None]] = {
    "as it was": lambda folder: None,
    "a member that a later writer added": manifest(member("written_by", to={"version": "9"})),
    "more about a tensor": manifest(member("tensors", W, "note", to="x")),
    "more in the state": state(member("shared", "more", to={"later": [1]})),
    "another reason": manifest(member("reasons", to=["rolling", "asked"])),
    "a file that nobody lists": lambda folder: (folder / "notes.txt").write_text("mine") and None,
    "a listed file of no tensor": lambda folder: put(folder, "notes.txt", b"mine"),
}
"""What no reader minds: the negative control."""
