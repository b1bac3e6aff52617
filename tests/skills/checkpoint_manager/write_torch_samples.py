"""Real checkpoints by the real writers, for the tests of every format: torch.save, dcp.save, safetensors and trainyard.

Run: `python write_torch_samples.py FOLDER`. expected.json is the oracle: name -> dtype, shape and SHA-256 of the contiguous bytes.
"""

from __future__ import annotations

import hashlib
import json
import sys
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import save_file
from torch import nn
from torch.distributed.checkpoint import HuggingFaceStorageWriter

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "training"))
import trainyard

DTYPES = {
    "f64": torch.float64,
    "f32": torch.float32,
    "f16": torch.float16,
    "bf16": torch.bfloat16,
    "i64": torch.int64,
    "i32": torch.int32,
    "i16": torch.int16,
    "i8": torch.int8,
    "u8": torch.uint8,
    "bool": torch.bool,
    "c64": torch.complex64,
}
NEWER = {"u16": torch.uint16, "f8": torch.float8_e4m3fn}
"""Written without a storage class of their own; the form before zip archives cannot hold them."""


def of_dtype(dtype: torch.dtype) -> torch.Tensor:
    numbers = torch.randn(3, 5, dtype=torch.float64) * 50
    return numbers.abs().to(dtype) if dtype in (torch.uint8, torch.uint16) else numbers.to(dtype)


def everything(dtypes: dict[str, torch.dtype]) -> dict[str, Any]:
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    return {
        "model": nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4)).state_dict(),
        "dtypes": {name: of_dtype(dtype) for name, dtype in dtypes.items()},
        "views": {
            "transposed": base.t(),
            "rows": base[1:3],
            "columns": base[:, ::2],
            "repeated": torch.arange(3.0).expand(4, 3),
            "scalar": torch.tensor(2.5),
            "empty": torch.zeros(0, 3),
        },
        "parameter": nn.Parameter(torch.ones(2, 2)),
        "list": [torch.zeros(2), (torch.ones(1), "words")],
        "step": 7,
        "odd keys": {3: torch.tensor([3]), "a.b": 1.5},
        "ordered": OrderedDict(x=None),
    }


def flat(value: Any, name: str = "") -> dict[str, torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return {name: value}
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    found = {}
    for key, item in items:
        found.update(flat(item, f"{name}.{key}" if name else str(key)))
    return found


def described(tensor: torch.Tensor) -> dict[str, Any]:
    data = tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
    return {"dtype": str(tensor.dtype), "shape": list(tensor.shape), "sha256": hashlib.sha256(data).hexdigest()}


def write_dcp(root: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "words": "hello", "step": 3}
    dcp.save(state, checkpoint_id=root / "dcp" / "step-3")
    dcp.save({"a": torch.zeros(2, 6), "b": torch.ones(3, 4)}, checkpoint_id=root / "dcp-twins")
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    dcp.save(weights, storage_writer=HuggingFaceStorageWriter(str(root / "dcp-safetensors"), save_distributed=True))


def write_trainyard(root: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    ck = trainyard.Checkpointer(
        root / "trainyard", model=model, optimizer=optimizer, policy=trainyard.SavePolicy(rolling_steps=1)
    )
    ck.restore()
    for step in (1, 2):
        with torch.no_grad():
            model.weight.add_(step)
        ck.step(step, loss=1.0)
    ck.close(finished=True)
    torch.save(model.state_dict(), root / "trainyard-2.pt")


def main(root: Path) -> None:
    warnings.simplefilter("ignore")
    torch.manual_seed(1)
    state = everything(DTYPES | NEWER)
    torch.save(state, root / "plain.pt")
    old = everything(DTYPES)
    torch.save(old, root / "legacy.pt", _use_new_zipfile_serialization=False)
    torch.save({"nothing": torch.zeros(0)}, root / "legacy-empty.pt", _use_new_zipfile_serialization=False)
    expected = {
        name: {key: described(tensor) for key, tensor in flat(each).items()}
        for name, each in (("plain", state), ("legacy", old))
    }
    (root / "expected.json").write_text(json.dumps(expected))
    torch.serialization.set_crc32_options(False)
    torch.save(state, root / "nocrc.pt")
    torch.serialization.set_crc32_options(True)
    weights = {name: of_dtype(dtype) for name, dtype in (DTYPES | NEWER).items()}
    save_file(weights, root / "weights.safetensors")
    torch.save(weights, root / "weights.pt")
    torch.save(nn.Linear(2, 2), root / "whole-model.pt")
    sparse = {
        "sparse": torch.eye(3).to_sparse(),
        "meta": torch.zeros(2, device="meta"),
        "conj": torch.ones(2, dtype=torch.complex64).conj(),
    }
    torch.save(sparse, root / "unreadable.pt")
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), root / "script.pt")
    model = nn.Linear(8, 8)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 8)).sum().backward()
    optimizer.step()
    write_dcp(root, model, optimizer)
    write_trainyard(root, model, optimizer)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
