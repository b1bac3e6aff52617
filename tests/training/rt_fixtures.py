"""Fixtures of the fault tests."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.training.rt_zygote import Zygote, running_zygote

STEPS = 8


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    with running_zygote() as zygote:
        yield zygote


@contextlib.contextmanager
def folder_in_memory() -> Iterator[Path]:
    """A folder where fsync costs nothing: what dies in these tests is a process, not the machine."""
    memory = "/dev/shm"
    with tempfile.TemporaryDirectory(prefix="trainyard-test-", dir=memory if os.access(memory, os.W_OK) else None) as name:
        yield Path(name)


@pytest.fixture
def memory_path() -> Iterator[Path]:
    with folder_in_memory() as folder:
        yield folder


@pytest.fixture(scope="session")
def reference(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> dict[int, str]:
    """Step -> digest of the uninterrupted run, step 0 included."""
    ended = zygote.run(tmp_path_factory.mktemp("reference"), steps=STEPS)
    assert ended.code == 0, ended.stderr
    step, digest = ended.restored
    assert step == 0 and sorted(ended.digests) == list(range(1, STEPS + 1))
    return {0: digest, **ended.digests}


@pytest.fixture(scope="session")
def saved(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with the steps 2 and 4, whose process died at step 5. Copy it before use."""
    run_dir = tmp_path_factory.mktemp("saved") / "run"
    ended = zygote.run(
        run_dir, steps=STEPS, policy={"rolling_steps": 2}, wait_after=[2, 4], after={5: [["exit", 9]]}, fingerprint="f" * 32
    )
    assert ended.code == 9, ended.stderr
    return run_dir
