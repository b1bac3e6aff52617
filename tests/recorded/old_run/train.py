"""A weight that moves with every step, saved every fifth; in no hurry, so that somebody can stop it under way."""

import time

import torch
import trainyard

STEPS = 30

trainyard.init_distributed()
model = torch.nn.Linear(1, 1, bias=False)
torch.nn.init.ones_(model.weight)
optimizer = torch.optim.SGD(model.parameters(), lr=0.001)
checkpointer = trainyard.Checkpointer(model=model, optimizer=optimizer, data=None, total_steps=STEPS)
step = checkpointer.restore()
while step < STEPS:
    step += 1
    loss = model(torch.full((1, 1), float(step))).sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    time.sleep(0.2)
    checkpointer.step(step, loss=loss.detach())
checkpointer.close()
