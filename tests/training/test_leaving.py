"""A rank that ends right behind its last collective ends with its own exit code, not by gloo's abort."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

JOIN = {
    "trainyard": "trainyard.init_distributed(process_group=True)",
    "torch alone": "dist.init_process_group('gloo', store=dist.HashStore(), rank=0, world_size=1)",
}

RANK = """
import torch, torch.distributed as dist, trainyard
{join}
for _ in range(40):
    ones = torch.ones(1_000_000)
    dist.all_gather([torch.empty_like(ones)], ones, async_op=True)
"""


def exit_code(how: str) -> int:
    env = os.environ | {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", RANK.format(join=JOIN[how])]
    return subprocess.run(command, env=env, timeout=120, stderr=subprocess.DEVNULL).returncode


def test_a_rank_that_ends_with_collectives_on_their_way_ends_with_its_own_code() -> None:
    assert [exit_code("trainyard") for _ in range(3)] == [0, 0, 0]


@pytest.mark.when_changed()  # the version of torch
def test_control_with_torch_alone_it_is_aborted() -> None:
    """5 of 6 runs were, fewer on a busy machine. A torch that no longer does it makes `leave_after_gloo` needless."""
    assert any(exit_code("torch alone") == -signal.SIGABRT for _ in range(30))
