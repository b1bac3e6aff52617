"""manifest.json of a step, sealed again after each change, as anybody can: one verdict, and no restore that breaks on a step called intact."""

from __future__ import annotations

import base64
import json
import sys
import tempfile
import zlib
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz.checkpoint_files import safetensors
from tests.fuzz.checkpoint_verbs import SOURCE

COVERED = ["checkpoint_manifest", "checkpoint_judgement", "checkpoint_contents", "checkpoint_format"]
W = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
SHARD = safetensors({"__metadata__": {"DCP_SHARDING_INFO": '{"model.w": {"saved_offsets": [0]}}'}, "model.w": W}, bytes(8))
RNG = {
    "python": {"$tuple": [3, {"$tuple": [*[0] * 624, 624]}, None]},
    "numpy": {"$tuple": ["MT19937", {"$bytes": base64.b64encode(bytes(2496)).decode()}, 624, 0, 0.0]},
    "torch": {"$bytes": base64.b64encode(bytes(16)).decode()},
}
SHARED = {"step": 4, "epoch": 0, "best_loss": None, "config": {}, "objects": {}}
STATE = json.dumps({"format": 1, "shared": SHARED, "ranks": {"0": {"rng": RNG}}}).encode()


def entry(data: bytes) -> dict[str, Any]:
    return {"crc32": f"{zlib.crc32(data):08x}", "size": len(data)}


MANIFEST: dict[str, Any] = {
    "data_fingerprint": None,
    "end_of_epoch": False,
    "epoch": 0,
    "files": {
        "shard-00001-model-00001-of-00001.safetensors": entry(SHARD),
        "state.json": entry(STATE),
    },
    "format": "trainyard-checkpoint",
    "incarnation": 1,
    "reasons": ["rolling"],
    "run_id": "0123456789abcdef",
    "step": 4,
    "tensors": {"model.w": {"dtype": "F32", "shape": [2]}},
    "time": 1790000000.0,
    "val_loss": None,
    "version": 1,
    "world_size": 1,
}
SEEDS = [
    json.dumps(MANIFEST).encode(),
    json.dumps({key: value for key, value in MANIFEST.items() if key != "tensors"}).encode(),
]
WORDS = [b'"tensors":', b"null", b"[]", b"{}", b"-1", b"1e400", b"NaN", b"true", b'"', b"9" * 400, b'"shape":[1099511627776,9]']
ODD: list[Any] = [None, True, -1, 0, 1.5, 2**63, 10**30, "", "x", [], {}, [1], {"a": 1}]


def mutate(data: bytes, random: Random) -> bytes:
    """A member somewhere in the document gets another value, or goes."""
    try:
        document = json.loads(data)
    except ValueError:
        document = dict(MANIFEST)
    place = document
    for _ in range(random.randrange(4)):
        inner = [
            value
            for value in (place.values() if isinstance(place, dict) else place)
            if isinstance(value, dict | list) and value
        ]
        if not inner:
            break
        place = random.choice(inner)
    if isinstance(place, dict) and place:
        key = random.choice(sorted(place))
        if random.random() < 0.3:
            del place[key]
        else:
            place[key] = deepcopy(random.choice(ODD))
    elif isinstance(place, list) and place:
        place[random.randrange(len(place))] = deepcopy(random.choice(ODD))
    return json.dumps(document).encode()


def target() -> Callable[[bytes], None]:
    sys.path.insert(0, str(SOURCE))
    import checkpoint_format as fmt
    from checkpoint_judgement import judge, open_step, verify_files

    folder = Path(tempfile.mkdtemp(prefix="trainyard-fuzz-")) / "step_00000004"
    folder.mkdir()
    (folder / "shard-00001-model-00001-of-00001.safetensors").write_bytes(SHARD)
    (folder / "state.json").write_bytes(STATE)

    (folder / "manifest.json").write_bytes(fmt.seal(MANIFEST))
    assert judge(folder, fmt.ANY_RUN).status == "intact", judge(folder, fmt.ANY_RUN)

    def read(data: bytes) -> None:
        try:
            document = json.loads(data)
            sealed = fmt.seal(document) if isinstance(document, dict) else data
        except (ValueError, RecursionError):
            sealed = data
        (folder / "manifest.json").write_bytes(sealed)
        judged = judge(folder, fmt.ANY_RUN)
        try:
            step = open_step(folder, fmt.ANY_RUN)
            verify_files(step, step.manifest["files"])
        except (fmt.DamagedError, OSError):
            assert judged.status != "intact"
            return
        assert judged.status == "intact" and isinstance(judged.manifest, dict) and judged.manifest["tensors"] is not None

    return read
