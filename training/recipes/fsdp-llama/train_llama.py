"""Pre-train a Llama-architecture model with FSDP2, and survive failures.

    torchrun --nproc-per-node 2 train_llama.py --size tiny --steps 20                         a try-out on CPUs
    torchrun ... train_llama.py --size 8b --tokens /trainyard/data/tokens.bin --vocabulary 128256 --context 8192

Parameters, gradients and optimizer state are sharded over all ranks (llama_model.py); each rank saves the shard that it holds. The
same command again goes on from the newest verified checkpoint, also on another number of nodes. Checkpoints go to
$TRAINYARD_CHECKPOINTS, step lines to $TRAINYARD_RUN_DIR; a job sets both.
"""

from __future__ import annotations

import argparse
import math
import sys
import time

import torch
import torch.distributed as dist
import trainyard
from llama_data import TokenBlocks, open_tokens
from llama_model import SHAPES, configuration, sharded_model
from torch import nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

# B batch of a rank, T tokens of a block, V vocabulary


def main() -> None:
    options = parse_options()
    try:
        blocks = open_tokens(options.tokens, options.vocabulary, options.context)
    except (ValueError, OSError) as error:
        sys.exit(f"train_llama.py: {error}")
    world = trainyard.init_distributed(process_group=True)
    if options.batch % (world.world_size * options.micro_batch):
        sys.exit(f"train_llama.py: --batch does not divide by {world.world_size} ranks x --micro-batch {options.micro_batch}")
    try:
        train(options, blocks, world)
    except trainyard.TrainyardError as error:
        sys.exit(f"train_llama.py: {error}")
    dist.destroy_process_group()


def train(options: argparse.Namespace, blocks: TokenBlocks, world: trainyard.World) -> None:
    config = configuration(options.size, options.vocabulary, options.context)
    model = sharded_model(config, world, precision=options.precision, recompute=options.recompute, seed=options.seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.lr, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: rate(done, options.warmup_steps, options.steps))
    order = trainyard.GlobalOrder(len(blocks), seed=options.seed)
    checkpointer = trainyard.Checkpointer(
        model=model,
        optimizer=optimizer,
        scheduler=schedule,
        data=order,
        config=vars(options),
        total_steps=options.steps,
        data_fingerprint=blocks.fingerprint(),
    )
    step = checkpointer.restore()
    parts = options.batch // (world.world_size * options.micro_batch)
    while step < options.steps:
        began, epoch, lr = time.perf_counter(), order.epoch, schedule.get_last_lr()[0]
        indices_B = order.next_batch(options.batch, world.rank, world.world_size)
        loss, norm = optimizer_step(model, optimizer, blocks, indices_B, parts, world)
        schedule.step()
        step += 1
        pace = options.batch * options.context / (time.perf_counter() - began)
        checkpointer.step(
            step, loss=loss, lr=lr, grad_norm=norm, tokens_per_s=pace, epoch=epoch, end_of_epoch=order.epoch > epoch
        )
    checkpointer.close()


def optimizer_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    blocks: TokenBlocks,
    indices_B: torch.Tensor,
    parts: int,
    world: trainyard.World,
) -> tuple[float, float]:
    """(loss, gradient norm) of the whole global batch, the same on every rank."""
    assert isinstance(model, FSDPModule)
    loss_sum = torch.zeros((), device=world.device)
    for number, part_B in enumerate(indices_B.chunk(parts), start=1):
        model.set_requires_gradient_sync(number == parts)  # gradients travel once a step
        tokens_BT, targets_BT = blocks.batch(part_B, world.device)
        logits_BTV = model(input_ids=tokens_BT).logits
        loss = nn.functional.cross_entropy(logits_BTV.float().flatten(0, 1), targets_BT.flatten()) / parts
        loss.backward()  # type: ignore[no-untyped-call]
        loss_sum += loss.detach()
    norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    dist.all_reduce(loss_sum)
    return float(loss_sum) / world.world_size, float(norm.full_tensor() if isinstance(norm, DTensor) else norm)


def rate(steps_done: int, warmup_steps: int, steps: int) -> float:
    """Of --lr: linear warm-up, then a cosine down to a tenth."""
    if steps_done < warmup_steps:
        return (steps_done + 1) / (warmup_steps + 1)
    progress = min(1.0, (steps_done - warmup_steps) / max(1, steps - warmup_steps))
    return 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * progress))


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=sorted(SHAPES), default="tiny", help="parameters, roughly (tiny)")
    parser.add_argument("--tokens", metavar="FILE", help="token ids (default: bytes of Python's own sources)")
    parser.add_argument("--vocabulary", type=int, default=256, metavar="N", help="token ids are below this (256)")
    parser.add_argument("--context", type=int, default=128, metavar="T", help="tokens of a block (128)")
    parser.add_argument("--steps", type=int, default=100, help="optimizer steps in all (100)")
    parser.add_argument("--batch", type=int, default=8, metavar="N", help="blocks an optimizer step, over all ranks (8)")
    parser.add_argument("--micro-batch", type=int, default=2, metavar="B", help="blocks a rank computes at once (2)")
    parser.add_argument("--lr", type=float, default=3e-4, help="highest learning rate (3e-4)")
    parser.add_argument("--warmup-steps", type=int, default=10, metavar="N", help="steps over which it rises (10)")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32", help="of the computation (fp32)")
    parser.add_argument("--recompute", action="store_true", help="keep no activations: less memory, a third more work")
    parser.add_argument("--seed", type=int, default=7, help="of the weights and of the order of the blocks (7)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
