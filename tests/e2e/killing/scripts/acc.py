"""accelerate, which joins the process group inside."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from told import STEPS, Rows, Tiny, tell
from torch.utils.data import DataLoader

accelerator = Accelerator(cpu=True)
torch.manual_seed(0)
model = Tiny()
model, optimizer, batches = accelerator.prepare(
    model, torch.optim.SGD(model.parameters(), lr=0.05), DataLoader(Rows(), batch_size=2, shuffle=True)
)
step = 0
while step < STEPS:
    for batch in batches:
        loss = model(**batch)["loss"]
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        tell(step, loss.detach())
        if step == STEPS:
            break
accelerator.end_training()
