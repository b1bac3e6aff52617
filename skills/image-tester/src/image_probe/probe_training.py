"""One checkpoint of the runtime: written, read back into another model, and compared bit for bit."""

from __future__ import annotations

import importlib
import os
import tempfile
from typing import Any

from image_probe.probe_report import Failed, Report
from image_probe.probe_torch import imported


def checkpoint(report: Report, item: dict[str, object]) -> dict[str, object]:
    """Step 1 of a small model with AdamW's state. Raises Failed where what comes back differs."""
    torch = imported(report)
    report.step("import trainyard")
    try:
        trainyard = importlib.import_module("trainyard")
    except ModuleNotFoundError as error:
        if error.name == "trainyard":
            raise Failed("trainyard is not installed in the image's Python") from None
        raise
    for name in [name for name in os.environ if name.startswith("TRAINYARD_")]:
        del os.environ[name]
    with tempfile.TemporaryDirectory() as folder:
        saved = _write(report, torch, trainyard, folder)
        files = sum(len(names) for _, _, names in os.walk(folder))
        step, read = _read(report, torch, trainyard, folder)
    if step != 1:
        raise Failed(f"restore() answers step {step}, and step 1 was written")
    different = [name for name in saved if not torch.equal(saved[name], read[name])]
    if different:
        raise Failed(f"read back, these differ: {', '.join(different[:10])}")
    return {"tensors": len(saved), "files": files}


def _things(torch: Any, seed: int) -> tuple[Any, Any]:
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Linear(16, 8))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    model(torch.ones(2, 8)).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()
    return model, optimizer


def _tensors(torch: Any, model: Any, optimizer: Any) -> dict[str, Any]:
    found = {f"model.{name}": value.clone() for name, value in model.state_dict().items()}
    for number, state in optimizer.state_dict()["state"].items():
        found.update({f"optimizer.{number}.{k}": torch.as_tensor(v).clone() for k, v in state.items()})
    return found


def _write(report: Report, torch: Any, trainyard: Any, folder: str) -> dict[str, Any]:
    model, optimizer = _things(torch, 1)
    report.step("write a checkpoint")
    policy = trainyard.SavePolicy(rolling_steps=1)
    with trainyard.Checkpointer(folder, policy=policy, model=model, optimizer=optimizer, data=None) as checkpointer:
        checkpointer.restore()
        checkpointer.step(1, loss=0.5)
    return _tensors(torch, model, optimizer)


def _read(report: Report, torch: Any, trainyard: Any, folder: str) -> tuple[int, dict[str, Any]]:
    model, optimizer = _things(torch, 2)
    report.step("read it back")
    with trainyard.Checkpointer(folder, model=model, optimizer=optimizer, data=None) as checkpointer:
        step = int(checkpointer.restore())
        return step, _tensors(torch, model, optimizer)
