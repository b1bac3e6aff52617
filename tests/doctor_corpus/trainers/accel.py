import time

import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def main():
    accelerator = Accelerator(cpu=True)
    generator = torch.Generator().manual_seed(0)
    data = TensorDataset(torch.randn(512, 16, generator=generator), torch.randint(0, 3, (512,), generator=generator))
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 3))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model, optimizer, loader = accelerator.prepare(model, optimizer, DataLoader(data, batch_size=8))
    for step, (x, y) in enumerate(loader, 1):
        # <step>
        loss = nn.functional.cross_entropy(model(x), y)
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        accelerator.print(f"epoch 0 step {step} train_loss {loss.item():.4f}")
        time.sleep(0.02)
    accelerator.wait_for_everyone()
    accelerator.print("done")


if __name__ == "__main__":
    main()
