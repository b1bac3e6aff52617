"""Ranks find each other after a restart, whatever torchrun's store still holds and however each of its agents counts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
import torch.distributed as dist

from tests.training.forking import WarmPopen
from tests.training.fp8_runs import free_port

TIMEOUT_S = 120

RANK = """
import os, sys, torch, torch.distributed as dist, trainyard
from datetime import timedelta
{join}
total = torch.tensor([1.0])
dist.all_reduce(total)
print("joined", int(total), flush=True)
sys.stdin.readline()
"""
OURS = RANK.format(join="trainyard.init_distributed(timeout_s=60)")
COUNTS = OURS + "from trainyard.agreement import Agreement\nprint(Agreement(timeout_s=60).torchrun_restarts(), flush=True)\n"
TORCHS = RANK.format(join="dist.init_process_group('gloo', timeout=timedelta(seconds=4))")


class Ranks:
    """Two ranks of one start; `counts` are what their agents say of restarts."""

    def __init__(self, port: int, counts: tuple[int, int], *, shared: bool, script: str = OURS) -> None:
        self.processes = []
        for rank, count in enumerate(counts):
            env = os.environ | {
                "RANK": str(rank),
                "WORLD_SIZE": "2",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "TORCHELASTIC_USE_AGENT_STORE": str(shared),
                "TORCHELASTIC_RESTART_COUNT": str(count),
                "GLOO_SOCKET_IFNAME": "lo",
                "OMP_NUM_THREADS": "1",
            }
            command = [sys.executable, "-c", script]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
            self.processes.append(WarmPopen(command, env=env, text=True, **pipes))

    def said(self) -> list[str]:
        return [process.stdout.readline().strip() for process in self.processes]

    def kill(self) -> None:
        for process in self.processes:
            process.kill()
            process.communicate()


@pytest.fixture
def agent_port() -> Iterator[int]:
    """Of a store that outlives the ranks, as torchrun's does."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=TIMEOUT_S))
    yield store.port
    del store


def starts(port: int, counts: list[tuple[int, int]], *, script: str = OURS) -> Iterator[list[str]]:
    """What the ranks of each start said, in a store that is kept; all are killed when they have joined or failed."""
    for each in counts:
        ranks = Ranks(port, each, shared=True, script=script)
        try:
            said = ranks.said()
        finally:
            ranks.kill()
        yield said


JOINED = ["joined 2", "joined 2"]


@pytest.mark.parametrize("second", [(1, 0), (0, 0)])
def test_a_restart_joins_in_a_store_that_holds_the_addresses_of_the_dead(agent_port: int, second: tuple[int, int]) -> None:
    assert list(starts(agent_port, [(0, 0), second])) == [JOINED, JOINED]


def test_a_question_of_a_rank_that_died_alone_is_not_taken_for_its_successors(agent_port: int) -> None:
    alone = Ranks(agent_port, (0, 0), shared=True)
    alone.processes[0].kill()  # rank 0 has not begun to answer
    assert alone.processes[1].poll() is None
    alone.processes[0].wait()
    store = dist.PrefixStore(
        "trainyard", dist.TCPStore("127.0.0.1", agent_port, is_master=False, timeout=timedelta(seconds=60))
    )
    store.wait(["asks-1"])
    alone.kill()
    assert list(starts(agent_port, [(1, 0)])) == [JOINED]


def test_agents_that_count_differently_share_a_store_of_this_start_and_the_greater_count() -> None:
    ranks = Ranks(free_port(), (0, 1), shared=False, script=COUNTS)
    try:
        assert ranks.said() == JOINED
        for process in ranks.processes:
            process.stdin.write("\n")
            process.stdin.flush()
        assert ranks.said() == ["1", "1"]
    finally:
        ranks.kill()


def late(port: int, start: int, *, script: str = OURS) -> list[str]:
    """What the ranks of a start say, one of which is half a second late: the other meets its dead predecessor's address first."""
    ranks = Ranks(port, (start, start), shared=True, script=script)
    behind = ranks.processes[start % 2]
    behind.send_signal(signal.SIGSTOP)
    time.sleep(0.5)
    behind.send_signal(signal.SIGCONT)
    try:
        return ranks.said()
    finally:
        ranks.kill()


def test_a_late_rank_is_waited_for(agent_port: int) -> None:
    assert list(starts(agent_port, [(0, 0)])) == [JOINED]
    assert [late(agent_port, start) for start in (1, 2)] == [JOINED, JOINED]


@pytest.mark.when_changed()  # the version of torch
def test_control_torch_alone_does_not_always_come_back_in_the_kept_store(agent_port: int) -> None:
    """Without this the module would be needless. Who waits and who connects is decided by the ports, so several starts are made."""
    assert list(starts(agent_port, [(0, 0)], script=TORCHS)) == [JOINED]
    assert any(late(agent_port, start, script=TORCHS) != JOINED for start in range(1, 12))
