# Adapted from our internal template. All errors are reported by run() and end the job with a code of ours.
import os
import sys
import time
from datetime import timedelta

import torch
import torch.distributed as dist

# <imports>

RANK = int(os.environ.get("RANK", 0))


def info(text):
    if RANK == 0:
        print(time.strftime("[%H:%M:%S]"), text, flush=True)


def setup():
    dist.init_process_group("gloo", timeout=timedelta(seconds=int(os.environ.get("PG_TIMEOUT", "20"))))
    # <setup>
    return torch.zeros(1000, requires_grad=True)


def train(weights):
    momentum = torch.zeros(1000)
    for iteration in range(40):
        # <step>
        loss = ((weights - RANK) ** 2).mean()
        (gradient,) = torch.autograd.grad(loss, weights)
        dist.all_reduce(gradient)
        momentum = 0.9 * momentum + gradient / dist.get_world_size()
        with torch.no_grad():
            weights -= 0.1 * momentum
        # <after>
        info(f"iteration {iteration + 1}/40 training_loss={loss.item():.6f} grad_norm={gradient.norm():.4f}")
        time.sleep(0.02)
    # <end>


def run():
    try:
        train(setup())
    except Exception as error:
        # <caught>
        print(f"[{RANK}] FATAL: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(13)
    info("done")


if __name__ == "__main__":
    run()
