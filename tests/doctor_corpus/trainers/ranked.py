"""Fine-tuning with a log line of every rank."""

import argparse
import logging
import os
import sys
import time
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

# <imports>

logger = logging.getLogger("finetune")


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--resume", type=Path, default=None)
    return parser.parse_args()


def average(values):
    dist.all_reduce(values)
    return values / dist.get_world_size()


class Trainer:
    def __init__(self, args):
        self.args = args
        self.rank = int(os.environ["RANK"])
        self.world = int(os.environ["WORLD_SIZE"])
        self.model = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 1))
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=args.lr)
        # <setup>

    def batch(self, step):
        # <sample>
        generator = torch.Generator().manual_seed(step * self.world + self.rank)
        x = torch.randn(8, 16, generator=generator)
        return x, x.sum(1, keepdim=True)

    def train_step(self, step):
        x, y = self.batch(step)
        # <step>
        loss = ((self.model(x) - y) ** 2).mean()
        self.optimizer.zero_grad()
        loss.backward()
        # <reduce>
        for parameter in self.model.parameters():
            parameter.grad = average(parameter.grad)
        self.optimizer.step()
        return loss.item()

    def fit(self):
        for step in range(1, self.args.steps + 1):
            began = time.perf_counter()
            # <loop>
            loss = self.train_step(step)
            seconds = time.perf_counter() - began
            logger.info("step=%d loss=%.5f time=%.3fs tokens/s=%.0f", step, loss, seconds, 4096 / max(seconds, 1e-3))
            # <after>
            time.sleep(0.02)
        # <end>


def main():
    args = parse()
    rank = os.environ.get("RANK", "0")
    layout = f"%(asctime)s [rank {rank}] %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=logging.INFO, format=layout, stream=sys.stderr)
    # <main>
    dist.init_process_group("gloo", timeout=timedelta(seconds=int(os.environ.get("PG_TIMEOUT", "20"))))
    logger.info("world size %d, pid %d", dist.get_world_size(), os.getpid())
    Trainer(args).fit()
    logger.info("finished")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
