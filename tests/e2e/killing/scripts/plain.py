"""A loop that joins the process group by itself, as nanoGPT does."""

from __future__ import annotations

import torch
import torch.distributed as dist
from told import STEPS, Rows, Tiny, tell
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler

dist.init_process_group(backend="gloo")
torch.manual_seed(0)
model = DistributedDataParallel(Tiny())
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
batches = DataLoader(Rows(), batch_size=2, sampler=DistributedSampler(Rows()))
step = 0
while step < STEPS:
    for batch in batches:
        loss = model(**batch)["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        tell(step, loss.detach())
        if step == STEPS:
            break
dist.destroy_process_group()
