"""Two ways to hash (with xxhash and isal, and without), and real checkpoints of every format, written once a session."""

from __future__ import annotations

import importlib.util
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.components.cluster import fixtures
from tests.training.forking import forked_run


def pytest_configure(config: pytest.Config) -> None:
    fixtures.register(config)


BLOCKER = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("xxhash", "isal"):
            raise ModuleNotFoundError(f"no {name} here", name=name)

sys.meta_path.insert(0, Blocked())
"""


@pytest.fixture(params=["xxh3_128", "crc32"])
def hashing(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, str]]:
    """(the algorithm that the program must use, the environment that makes it so)."""
    if request.param == "xxh3_128":
        return "xxh3_128", {}
    folder: Path = tmp_path_factory.mktemp("blocked")
    (folder / "sitecustomize.py").write_text(BLOCKER)
    return "crc32", {"PYTHONPATH": str(folder)}


HERE = Path(__file__).parent


def run_writer(script: str, *words: str | Path) -> None:
    """Run one of the writers in a process of its own; what it says is in the failure."""
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("TRAINYARD_RUN", "TRAINYARD_CHECK", "PET_"))
    }
    environment |= {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-W", "ignore", str(HERE / script), *map(str, words)]
    done = forked_run(command, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.fixture(scope="session")
def torch_samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files and folders by torch.save, dcp.save, safetensors and trainyard. Read only: copy before you damage."""
    root = tmp_path_factory.mktemp("torch-samples")
    run_writer("write_torch_samples.py", root)
    return root


@pytest.fixture(scope="session")
def two_rank_samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sharded tensors saved by two ranks in both layouts of torch.distributed.checkpoint, and the whole tensors in dcp-2.pt."""
    root = tmp_path_factory.mktemp("two-ranks")
    with ThreadPoolExecutor(2) as pool:
        for each in [pool.submit(run_writer, "write_dcp_rank.py", root, str(rank)) for rank in range(2)]:
            each.result()
    return root


@pytest.fixture(scope="session")
def transformers_samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints by transformers' save_pretrained and Trainer."""
    if missing := [name for name in ("transformers", "accelerate") if importlib.util.find_spec(name) is None]:
        pytest.skip(f"{missing[0]} is not installed")
    root = tmp_path_factory.mktemp("transformers-samples")
    run_writer("write_library_samples.py", root, "transformers")
    return root


@pytest.fixture(scope="session")
def lightning_samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints by Lightning's Trainer."""
    if importlib.util.find_spec("lightning") is None:
        pytest.skip("lightning is not installed")
    root = tmp_path_factory.mktemp("lightning-samples")
    run_writer("write_library_samples.py", root, "lightning")
    return root
