"""Train a small byte-level language model and survive failures: the example trainer, to be read from top to bottom.

    python training/train.py --steps 100                                    one process
    torchrun --nproc-per-node 2 training/train.py --steps 400               two ranks
    torchrun --nproc-per-node 4 training/train.py --parallel fsdp --precision bf16 --data texts/ more.txt

It runs on CPUs (gloo) and on GPUs (nccl). Stopped or killed and started again with the same options, it goes on from its newest
verified checkpoint. The model is in lm_model.py, the text in lm_corpus.py and lm_loader.py, the options in lm_options.py, and
everything about checkpoints in the package trainyard.

Where things go: checkpoints to $TRAINYARD_CHECKPOINTS, else ./checkpoints; steps.jsonl, events.jsonl, tensorboard/, profile/ and
sample.txt to $TRAINYARD_RUN_DIR (tensorboard/ and profile/ else to the current folder, the others nowhere). A job sets both.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":
    import lm_dependencies

    lm_dependencies.check(sys.argv[1:])  # before an import fails

import torch
import torch.distributed as dist
import trainyard
from lm_corpus import Blocks, split
from lm_loader import BatchLoader
from lm_model import GPT, ModelConfig, nats_per_byte
from lm_options import make_parser
from lm_parallel import gradient_sync, parallelize
from lm_profile import StepProfiler
from lm_program import begin, errors_in_words
from lm_showing import log_histograms, sample, show_sample
from lm_stopping import EarlyStopping
from torch import nn
from torch.distributed.fsdp import FSDPModule

# B batch (this rank's share), T tokens (bytes) of a block

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


def train(run: Run) -> None:
    """From the newest verified checkpoint to the last step, or to an early stop."""
    args, order, schedule, stopping = run.args, run.order, run.schedule, run.stopping
    checkpointer, trainer = run.checkpointer, run.trainer
    world = trainer.world
    step = checkpointer.restore(args.resume)
    loader, profiler = run.make_loader(), run.make_profiler()
    if world.rank == 0 and (step >= args.steps or stopping.is_over):
        print(
            f"nothing to do: step {step} of {args.steps} is done" + (", stopped early" if stopping.is_over else ""), flush=True
        )

    while step < args.steps and not stopping.is_over:
        profiler.before(step + 1)
        began = time.perf_counter()
        epoch = order.epoch
        lr = schedule.get_last_lr()[0]
        indices_B = order.next_batch(args.batch_size, world.rank, world.world_size)
        loss, grad_norm = trainer.step(*loader.batch(indices_B))
        schedule.step()
        step += 1
        tokens_per_s = args.batch_size * args.block_size / (time.perf_counter() - began)
        val_loss = None
        if is_due(step, args.eval_interval) or step == args.steps:
            val_loss = trainer.evaluate(run.validation)
            stopping.update(val_loss)
        checkpointer.step(
            step,
            loss=loss,
            lr=lr,
            grad_norm=grad_norm,
            tokens_per_s=tokens_per_s,
            epoch=epoch,
            end_of_epoch=order.epoch > epoch,
            val_loss=val_loss,
        )
        if is_due(step, args.histogram_interval):
            log_histograms(trainer.net, checkpointer)
        if is_due(step, args.sample_interval):
            checkpointer.log_text("sample", sample(trainer.net, args))
        profiler.after(step)

    loader.close()
    profiler.close(step)
    if stopping.is_over and step < args.steps:
        checkpointer.log_event("early-stop", step=step, best_val_loss=stopping.best_loss)
        if world.rank == 0:
            print(f"stopped early at step {step}: {args.patience} evaluations in a row found nothing better", flush=True)
    checkpointer.close(finished=True)
    if args.sample_bytes > 0:
        show_sample(trainer.net, args, world.rank)
    if dist.is_initialized():
        dist.destroy_process_group()


def is_due(step: int, interval: int) -> bool:
    return interval > 0 and step % interval == 0


# --- one step, one evaluation ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trainer:
    """What a step needs; nothing in here changes but the tensors."""

    net: GPT
    """The bare model: with DDP the module inside, with FSDP the sharded model itself."""
    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    """Scales the loss with fp16, so that small gradients do not vanish; otherwise passes everything on."""
    world: trainyard.World
    args: argparse.Namespace

    def loss(self, model: nn.Module, tokens_BT: torch.Tensor, targets_BT: torch.Tensor) -> torch.Tensor:
        dtype = AUTOCAST.get(self.args.precision)
        with torch.autocast(self.world.device.type, dtype, enabled=dtype is not None):
            logits_BTV = model(tokens_BT)
        return nats_per_byte(logits_BTV, targets_BT)

    def step(self, tokens_BT: torch.Tensor, targets_BT: torch.Tensor) -> tuple[float, float]:
        """One optimizer step on this rank's samples; (loss, gradient norm) of the whole global batch, the same on every rank.

        The gradients, clipped, stay until the next step.
        """
        self.optimizer.zero_grad()
        count = self.args.gradient_accumulation
        loss_sum = torch.zeros((), device=self.world.device)
        for number, part in enumerate(zip(tokens_BT.chunk(count), targets_BT.chunk(count), strict=True), start=1):
            with gradient_sync(self.model, on=number == count):
                loss = self.loss(self.model, *part) / count
                self.scaler.scale(loss).backward()
            loss_sum += loss.detach()
        self.scaler.unscale_(self.optimizer)
        max_norm = self.args.grad_clip or math.inf
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), max_norm)
        if isinstance(norm, dist.tensor.DTensor):
            norm = norm.full_tensor()
        self.scaler.step(self.optimizer)  # not done where a scaled gradient has overflown; the scale is lowered instead
        self.scaler.update()
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


# --- what the loop is made of ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """All that the loop works with."""

    args: argparse.Namespace
    trainer: Trainer
    schedule: torch.optim.lr_scheduler.LambdaLR
    order: trainyard.GlobalOrder
    stopping: EarlyStopping
    checkpointer: trainyard.Checkpointer
    training: Blocks
    validation: Blocks

    def make_loader(self) -> BatchLoader:
        """It begins where the order stands."""
        args = self.args
        return BatchLoader(
            self.training,
            self.order,
            args.batch_size,
            self.trainer.world,
            workers=args.workers,
            prefetch=args.prefetch,
            pin_memory=args.pin_memory,
        )

    def make_profiler(self) -> StepProfiler:
        folder = Path(os.environ.get("TRAINYARD_RUN_DIR", ""), "profile")
        return StepProfiler(self.args.profile if self.trainer.world.rank == 0 else None, folder)


def prepare(args: argparse.Namespace, net: GPT, world: trainyard.World, corpus: bytes) -> Run:
    """Share `net` out to the ranks, and give everything that has a state to the Checkpointer. Collective."""
    training, validation = split(corpus, args.block_size)
    model = parallelize(net, args.parallel, world, compiled=args.compile)
    optimizer = make_optimizer(model, args)
    schedule = make_schedule(optimizer, args)
    scaler = torch.amp.GradScaler(world.device.type, enabled=args.precision == "fp16")
    order = trainyard.GlobalOrder(len(training), seed=args.seed)
    stopping = EarlyStopping(args.patience, args.min_delta)
    checkpointer = trainyard.Checkpointer(
        model=model,
        optimizer=optimizer,
        scheduler=schedule,
        scaler=scaler,
        data=order,
        stopping=stopping,
        config=vars(args),
        total_steps=args.steps,
        data_fingerprint=trainyard.data_fingerprint(corpus),
        tensorboard=args.tensorboard,
        wandb=args.wandb,
    )
    torch.manual_seed(args.seed * 100_003 + world.rank)  # each rank drops out other units; restore brings back the saved RNG
    trainer = Trainer(net, model, optimizer, scaler, world, args)
    return Run(args, trainer, schedule, order, stopping, checkpointer, training, validation)


def make_net(args: argparse.Namespace, config: ModelConfig, world: trainyard.World) -> GPT:
    torch.manual_seed(args.seed)  # the same weights on every rank
    return GPT(config).to(world.device)


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


def main(argv: list[str] | None = None) -> None:
    parser = make_parser(__doc__)
    args = parser.parse_args(argv)
    config, corpus = begin(parser, args)
    with errors_in_words(parser):
        world = trainyard.init_distributed(timeout_s=300)
        train(prepare(args, make_net(args, config, world), world, corpus))


if __name__ == "__main__":
    main()
