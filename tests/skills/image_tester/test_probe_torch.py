"""Controls of what torch is tried with: each probe fails where only its own claim is wrong. Each imports torch: some seconds."""

from __future__ import annotations

import os
from pathlib import Path

import probing
import pytest

from tests.components.images.fixtures import full_images

pytestmark = full_images

# In place of a broken build: what a sitecustomize of the image changes is what the probe sees.
LAZY = "import torch\ntorch.optim.AdamW.step = lambda self, closure=None: None\n"
NAN = (
    "import torch\nreal = torch.nn.functional.mse_loss\ntorch.nn.functional.mse_loss = lambda a, b: real(a, b) * float('nan')\n"
)
FORGETS = """
import torch
class SavePolicy:
    def __init__(self, **given): pass
class Checkpointer:
    def __init__(self, folder, model, optimizer, data, policy=None): pass
    def __enter__(self): return self
    def __exit__(self, *given): pass
    def restore(self): return 1
    def step(self, step, loss): pass
"""


@pytest.mark.parametrize(
    ("call", "files", "says"),
    [
        ("probe_torch.train_step", {"sitecustomize.py": LAZY}, "does not fall"),
        ("probe_torch.train_step", {"sitecustomize.py": NAN}, "does not fall"),
        ("probe_training.checkpoint", {"trainyard.py": FORGETS}, "read back, these differ: model.0.weight"),
    ],
    ids=["optimizer does nothing", "loss is NaN", "checkpoint forgets"],
)
def test_a_broken_torch_or_runtime(tmp_path: Path, call: str, files: dict[str, str], says: str) -> None:
    probing.write(tmp_path, files)
    found = probing.one(call, env={"PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"})
    assert found.state == "failed" and says in found.text, found


@pytest.mark.skipif(os.getuid() != 0, reason="a pid namespace needs root")
def test_ranks_that_never_meet(tmp_path: Path) -> None:
    """The answer says in which step each rank was, and comes at the limit; ranks are sessions of their own and end all the same."""
    hang = "import os, time\nif 'RANK' in os.environ:\n    time.sleep(600)\n"
    probing.write(tmp_path, {"sitecustomize.py": hang})
    environment, own_pids = {"PYTHONPATH": str(tmp_path)}, ["unshare", "--pid", "--fork", "--kill-child"]
    found = probing.one("probe_ranks.all_reduce", {"limit_s": 15}, env=environment, before=own_pids)
    assert found.state == "failed" and "did not end within 15 s; they were in: before Python, before Python" in found.text
