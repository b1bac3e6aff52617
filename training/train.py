"""Train a small byte-level language model and survive failures: the example trainer, to be read from top to bottom.

    python training/train.py --steps 100                                    one process
    torchrun --nproc-per-node 2 training/train.py --steps 400               two ranks
    torchrun --nproc-per-node 4 training/train.py --parallel fsdp --precision bf16 --data texts/ more.txt

It runs on CPUs (gloo) and on GPUs (nccl). Stopped or killed and started again with the same options, it goes on from its newest
verified checkpoint. The model is in lm_model.py, the text in lm_corpus.py, the options in lm_options.py, and everything about
checkpoints in the package trainyard.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
import trainyard
from lm_corpus import Blocks, read_corpus, split
from lm_model import GPT, ModelConfig, generate, nats_per_byte
from lm_options import check_batch, make_parser
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.nn.parallel import DistributedDataParallel

# B batch (this rank's share), T tokens (bytes) of a block


# --- model, optimizer, schedule ----------------------------------------------------------------------------------


def parallelize(net: GPT, parallel: str, world: trainyard.World) -> nn.Module:
    """The module to train with. One process alone has nothing to share, so it trains `net` as it is."""
    if world.world_size == 1:
        return net
    if parallel == "ddp":
        return DistributedDataParallel(net, device_ids=[world.device] if world.device.type == "cuda" else None)
    mesh = init_device_mesh(world.device.type, (world.world_size,))
    for block in net.blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(net, mesh=mesh)
    return net


def make_optimizer(model: nn.Module, args: argparse.Namespace) -> torch.optim.AdamW:
    matrices = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups = [{"params": matrices, "weight_decay": args.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=args.lr, betas=(0.9, 0.95))


def make_schedule(optimizer: torch.optim.Optimizer, args: argparse.Namespace) -> torch.optim.lr_scheduler.LambdaLR:
    """Linear warm-up, then a cosine from --lr down to --min-lr."""

    def factor(steps_done: int) -> float:
        if steps_done < args.warmup_steps:
            return (steps_done + 1) / (args.warmup_steps + 1)
        progress = min(1.0, (steps_done - args.warmup_steps) / max(1, args.steps - args.warmup_steps))
        lowest = args.min_lr / args.lr
        return lowest + (1 - lowest) * 0.5 * (1 + math.cos(math.pi * progress))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


# --- one step, one evaluation ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trainer:
    """What a step needs; nothing in here changes but the tensors."""

    net: GPT
    """The bare model: with DDP the module inside, with FSDP the sharded model itself."""
    model: nn.Module
    optimizer: torch.optim.Optimizer
    world: trainyard.World
    args: argparse.Namespace

    def loss(self, model: nn.Module, tokens_BT: torch.Tensor, targets_BT: torch.Tensor) -> torch.Tensor:
        with torch.autocast(self.world.device.type, torch.bfloat16, enabled=self.args.precision == "bf16"):
            logits_BTV = model(tokens_BT)
        return nats_per_byte(logits_BTV, targets_BT)

    def warm_up(self) -> None:
        """One forward and backward on zeros, at every start and before the restore, which then overwrites buffers and RNG.

        DDP orders its gradient buckets anew after its first backward. Without this, step 1 of a resumed run would still sum
        gradients in the first order where the uninterrupted run sums them in the second: equal on two ranks, not on four.
        """
        zeros_BT = torch.zeros(1, self.args.block_size, dtype=torch.int64, device=self.world.device)
        self.loss(self.model, zeros_BT, zeros_BT).backward()
        self.optimizer.zero_grad()

    def step(self, blocks: Blocks, indices_B: torch.Tensor) -> tuple[float, float]:
        """One optimizer step on this rank's samples; (loss, gradient norm) of the whole global batch, the same on every rank."""
        parts = indices_B.chunk(self.args.gradient_accumulation)
        loss_sum = torch.zeros((), device=self.world.device)
        for number, part_B in enumerate(parts, start=1):
            with gradient_sync(self.model, on=number == len(parts)):
                loss = self.loss(self.model, *blocks.batch(part_B, self.world.device)) / len(parts)
                loss.backward()
            loss_sum += loss.detach()
        max_norm = self.args.grad_clip or math.inf
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), max_norm)
        if isinstance(norm, dist.tensor.DTensor):
            norm = norm.full_tensor()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return self.mean_over_ranks(loss_sum), float(norm)

    @torch.no_grad()
    def evaluate(self, blocks: Blocks) -> float:
        """Mean loss on the same --eval-batches validation batches at each call, the same number on every rank."""
        order = trainyard.GlobalOrder(len(blocks), seed=0)
        loss_sum = torch.zeros((), device=self.world.device)
        self.model.eval()
        for _ in range(self.args.eval_batches):
            indices_B = order.next_batch(self.args.batch_size, self.world.rank, self.world.world_size)
            loss_sum += self.loss(self.net, *blocks.batch(indices_B, self.world.device))
        self.model.train()
        if isinstance(self.net, FSDPModule):
            self.net.reshard()  # without a backward the outermost parameters would stay gathered
        return self.mean_over_ranks(loss_sum / self.args.eval_batches)

    def mean_over_ranks(self, value: torch.Tensor) -> float:
        if self.world.world_size > 1:
            dist.all_reduce(value)
        return float(value) / self.world.world_size


def gradient_sync(model: nn.Module, *, on: bool) -> contextlib.AbstractContextManager[None]:
    """Within it, backward exchanges gradients with the other ranks only if `on`: once a step, not once a part."""
    if isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(on)
    if isinstance(model, DistributedDataParallel) and not on:
        return model.no_sync()
    return contextlib.nullcontext()


def print_sample(trainer: Trainer) -> None:
    """Text from the trained model, on stdout and in the run folder. Control characters are not passed on to a terminal."""
    args = trainer.args
    trainer.model.eval()
    raw = generate(trainer.net, b"def ", args.sample_bytes, args.block_size, seed=args.seed)
    if trainer.world.rank > 0:
        return
    text = "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in raw.decode("utf-8", errors="replace"))
    for line in text.split("\n"):
        print(f"sample: {line}", flush=True)
    if run_dir := os.environ.get("TRAINYARD_RUN_DIR"):
        Path(run_dir, "sample.txt").write_text(text + "\n", encoding="utf-8")


# --- the run -----------------------------------------------------------------------------------------------------


def train(args: argparse.Namespace, config: ModelConfig, corpus: bytes) -> None:
    training, validation = split(corpus, args.block_size)
    world = trainyard.init_distributed(timeout_s=300)
    torch.manual_seed(args.seed)  # the same weights on every rank
    net = GPT(config).to(world.device)
    model = parallelize(net, args.parallel, world)
    optimizer = make_optimizer(model, args)
    schedule = make_schedule(optimizer, args)
    order = trainyard.GlobalOrder(len(training), seed=args.seed)
    trainer = Trainer(net, model, optimizer, world, args)

    checkpointer = trainyard.Checkpointer(
        model=model,
        optimizer=optimizer,
        scheduler=schedule,
        data=order,
        config=vars(args),
        total_steps=args.steps,
        data_fingerprint=trainyard.data_fingerprint(corpus),
        tensorboard=args.tensorboard,
    )
    if not args.skip_warm_up:
        trainer.warm_up()
    torch.manual_seed(args.seed * 100_003 + world.rank)  # each rank drops out other units; restore brings back the saved RNG
    step = checkpointer.restore(args.resume)

    while step < args.steps:
        began = time.perf_counter()
        epoch = order.epoch
        lr = schedule.get_last_lr()[0]
        indices_B = order.next_batch(args.batch_size, world.rank, world.world_size)
        loss, grad_norm = trainer.step(training, indices_B)
        schedule.step()
        step += 1
        tokens_per_s = args.batch_size * args.block_size / (time.perf_counter() - began)
        is_evaluated = step % args.eval_interval == 0 or step == args.steps
        checkpointer.step(
            step,
            loss=loss,
            lr=lr,
            grad_norm=grad_norm,
            tokens_per_s=tokens_per_s,
            epoch=epoch,
            end_of_epoch=order.epoch > epoch,
            val_loss=trainer.evaluate(validation) if is_evaluated else None,
        )
    checkpointer.close()
    if args.sample_bytes > 0:
        print_sample(trainer)
    if dist.is_initialized():
        dist.destroy_process_group()


def main(argv: list[str] | None = None) -> None:
    parser = make_parser(__doc__)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    if args.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it starts
        torch.use_deterministic_algorithms(True)
    try:
        check_batch(args, int(os.environ.get("WORLD_SIZE", "1")))
        config = ModelConfig(**{field: getattr(args, field) for field in ModelConfig.__dataclass_fields__})
        corpus = read_corpus(args.data, args.max_bytes)
        split(corpus, args.block_size)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    try:
        train(args, config, corpus)
    except trainyard.TrainyardError as error:
        parser.exit(1, f"{parser.prog}: error: {error}\n")


if __name__ == "__main__":
    main()
