"""Four forked DDP ranks train 10 steps, and again from a copy of step 5: `python -m tests.training.ddp_order_run PORT settled|not`.

Prints `equal` or `differs`: whether the second training ends with the bits of the first.
"""

from __future__ import annotations

import copy
import os
import sys

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from trainyard.ddp_order import settle

RANKS = 4


def begin(state: tuple[dict, dict] | None, settled: bool) -> tuple[DistributedDataParallel, torch.optim.Optimizer]:
    torch.manual_seed(0)
    layers = [nn.Linear(33, 70), nn.BatchNorm1d(70), nn.Tanh(), nn.Linear(70, 51), nn.Tanh(), nn.Linear(51, 7)]
    model = DistributedDataParallel(nn.Sequential(*layers))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    if settled:
        settle([model])
        assert all(parameter.grad is None for parameter in model.parameters()) and isinstance(model.module, nn.Sequential)
    if state:
        model.module.load_state_dict(state[0])
        optimizer.load_state_dict(state[1])
    return model, optimizer


def train(model: DistributedDataParallel, optimizer: torch.optim.Optimizer, steps: range, rank: int) -> None:
    for step in steps:
        generator = torch.Generator().manual_seed(1000 * step + rank)
        model(torch.randn(16, 33, generator=generator)).pow(2).mean().backward()
        optimizer.step()
        optimizer.zero_grad()


def main(rank: int, port: str, settled: bool) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port, GLOO_SOCKET_IFNAME="lo")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=RANKS)
    whole, optimizer = begin(None, settled)
    train(whole, optimizer, range(5), rank)
    state = copy.deepcopy((whole.module.state_dict(), optimizer.state_dict()))
    train(whole, optimizer, range(5, 10), rank)
    resumed, optimizer = begin(state, settled)
    train(resumed, optimizer, range(5, 10), rank)
    pairs = zip(whole.parameters(), resumed.parameters(), strict=True)
    equal = all(torch.equal(one, other) for one, other in pairs)
    last = resumed.module[1].running_mean.clone()  # of this rank's last forward, until the next one brings rank 0's
    resumed.eval()(torch.zeros(1, 33))
    dist.broadcast(last, 0)
    assert torch.equal(resumed.module[1].running_mean, last), "DDP no longer broadcasts its buffers"
    if rank == 0:
        print("equal" if equal else "differs", flush=True)


if __name__ == "__main__":
    children = []
    for rank in range(RANKS):
        pid = os.fork()
        if pid == 0:
            main(rank, sys.argv[1], sys.argv[2] == "settled")
            os._exit(0)
        children.append(pid)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    sys.exit(max(codes, key=abs))
