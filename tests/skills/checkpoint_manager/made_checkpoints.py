"""Checkpoint folders made without torch: the format by hand, the digests and seals by checkpoint_format.py."""

from __future__ import annotations

import base64
import importlib
import json
import os
import random
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.training.forking import skill_run

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = ROOT / "skills" / "checkpoint-manager" / "src" / "manage_checkpoints.py"
RUN_ID = "0123456789abcdef"


def load_format() -> ModuleType:
    """The skill's copies by their path: importing the trainyard package would bring torch along."""
    sys.path.insert(0, str(PROGRAM.parent))
    try:
        return importlib.import_module("checkpoint_format")
    finally:
        sys.path.remove(str(PROGRAM.parent))


FORMAT = load_format()
RNG: dict[str, Any] = {
    "python": {"$tuple": [3, {"$tuple": [*[0] * 624, 624]}, None]},
    "numpy": {"$tuple": ["MT19937", {"$bytes": base64.b64encode(bytes(2496)).decode()}, 624, 0, 0.0]},
    "torch": {"$bytes": base64.b64encode(bytes(16)).decode()},
}
"""The generators of one rank; torch's own state is longer, and only torch can judge it."""


def state_of(step: int, ranks: int = 2) -> dict[str, Any]:
    """state.json of a step: what a script without an optimizer keeps."""
    objects = {"data": {"position": step * 8}}
    shared = {"step": step, "epoch": step // 100, "best_loss": None, "config": {}, "objects": objects}
    return {"format": 1, "shared": shared, "ranks": {str(rank): {"rng": RNG} for rank in range(ranks)}}


def safetensors(tensors: dict[str, tuple[str, list[int], bytes]]) -> bytes:
    """The layout by hand: header length, JSON header, bytes one after another; each tensor is whole."""
    whole = {name: {"saved_offsets": [0] * len(shape)} for name, (_, shape, _) in tensors.items()}
    header: dict[str, Any] = {"__metadata__": {"DCP_SHARDING_INFO": json.dumps(whole)}}
    offset = 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + b"".join(data for _, _, data in tensors.values())


def write_step(
    root: Path,
    step: int,
    *,
    reasons: tuple[str, ...] = ("rolling",),
    end_of_epoch: bool = False,
    val_loss: float | None = None,
    values: int = 64,
    name: str | None = None,
    extra_files: dict[str, bytes] | None = None,
    sealed_with: dict[str, Any] | None = None,
) -> Path:
    """One committed checkpoint of two ranks; `sealed_with` replaces members of the manifest before it is sealed."""
    folder = root / (name or FORMAT.step_name(step))
    folder.mkdir(parents=True)
    source = random.Random(step)
    shards = [safetensors({f"model.w{rank}": ("F32", [values], source.randbytes(4 * values))}) for rank in range(2)]
    files = {FORMAT.shard_name(rank, 2): shard for rank, shard in enumerate(shards)}
    files["state.json"] = json.dumps(state_of(step), separators=(",", ":")).encode()
    files |= extra_files or {}
    for file, data in files.items():
        (folder / file).write_bytes(data)
    manifest = {
        "data_fingerprint": None,
        "end_of_epoch": end_of_epoch,
        "epoch": step // 100,
        "files": {file: FORMAT.digest_of(data) for file, data in files.items()},
        "format": FORMAT.FORMAT,
        "incarnation": 1,
        "reasons": list(reasons),
        "run_id": RUN_ID,
        "step": step,
        "tensors": {f"model.w{rank}": {"dtype": "F32", "shape": [values]} for rank in range(2)},
        "time": 1790000000.0 + step,
        "val_loss": val_loss,
        "version": FORMAT.VERSION,
        "world_size": 2,
    }
    (folder / "manifest.json").write_bytes(FORMAT.seal(manifest | (sealed_with or {})))
    return folder


def write_tiers(root: Path, *, keep_rolling: int = 2, keep_epochs: int = 1) -> dict[str, Any]:
    """tiers.json and latest as a run leaves them."""
    manifests = [entry.manifest for entry in FORMAT.committed(FORMAT.scan(root))]
    tiers: dict[str, Any] = FORMAT.rebuild_tiers(manifests, keep_rolling=keep_rolling, keep_epochs=keep_epochs)
    (root / "tiers.json").write_bytes(FORMAT.canonical(tiers))
    (root / "latest").write_text(f"{FORMAT.step_name(tiers['latest'])}\n")
    return tiers


def this_process() -> dict[str, Any]:
    """A holder that lives for as long as the test does."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return {"host": socket.gethostname(), "boot_id": boot_id, "pid": os.getpid(), "start_time": int(fields[19])}


def write_lock(root: Path, holder: dict[str, Any] | None, incarnation: int = 1) -> None:
    lock = {"format": 1, "run_id": RUN_ID, "incarnation": incarnation, "holder": holder, "origin": None}
    (root / "lock.json").write_text(json.dumps(lock))


def tree(root: Path) -> dict[str, bytes | str]:
    """Every file below with its bytes, every link with its target."""
    return {
        str(path.relative_to(root)): f"-> {path.readlink()}"
        if path.is_symlink()
        else path.read_bytes()
        if path.is_file()
        else ""
        for path in sorted(root.rglob("*"))
    }


@dataclass(frozen=True)
class Answer:
    code: int
    document: dict[str, Any]
    stderr: str

    @property
    def data(self) -> dict[str, Any]:
        return dict(self.document["data"])

    @property
    def error(self) -> str:
        return str(self.document["error"]["code"])

    def checks(self, status: str) -> dict[str, str]:
        """Id -> evidence or summary of the checks with this status."""
        return {c["id"]: c["evidence"] or c["summary"] for c in self.document["checks"] if c["status"] == status}


def call(*words: str | Path, env: dict[str, str] | None = None, before: list[str] | None = None) -> Answer:
    """Run the program (`before`: words in front of the command); its stdout must be one JSON document."""
    command = [*(before or []), sys.executable, str(PROGRAM), *map(str, words)]
    done = skill_run(command, timeout=120, env={**os.environ, **(env or {})}, cwd="/")
    document = json.loads(done.stdout)
    assert done.stdout.count("\n") == 1, "one line, one document"
    assert document["ok"] == (done.returncode == 0)
    return Answer(done.returncode, document, done.stderr)


def wait_for(ready: Any, *, timeout_s: float = 30.0) -> Any:
    """The first true value; fails after the deadline."""
    deadline = time.monotonic() + timeout_s
    while not (value := ready()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.0005)
    return value
