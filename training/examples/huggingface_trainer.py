"""Hugging Face Trainer: the lines marked with # <- are what makes it survive kills.

    python training/examples/huggingface_trainer.py --steps 30
    torchrun --nproc-per-node 2 training/examples/huggingface_trainer.py --steps 30

Kill it and start it again with the same command: it goes on from its newest checkpoint, bit for bit. The folder is
TRAINYARD_CHECKPOINTS, else ./checkpoints; TRAINYARD_ROLLING_STEPS=5 saves every 5 steps.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch.distributed as dist
import trainyard
from toy_data import TOKENS, VOCABULARY, Sequences, parse_options
from trainyard.huggingface import TrainyardCallback, resume  # <-
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments, set_seed


def make_trainer(options: argparse.Namespace, **more: Any) -> Trainer:
    arguments = TrainingArguments(
        output_dir="huggingface-output",
        max_steps=options.steps,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
        learning_rate=3e-3,
        lr_scheduler_type="cosine",
        warmup_steps=3,
        logging_steps=1,  # a loss for every step
        eval_strategy="steps",
        eval_steps=7,
        save_strategy="no",  # Trainyard saves
        seed=options.seed,
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        **more,
    )
    set_seed(options.seed)
    config = GPT2Config(vocab_size=VOCABULARY, n_positions=TOKENS, n_embd=32, n_layer=2, n_head=2)
    return Trainer(
        model=GPT2LMHeadModel(config),
        args=arguments,
        train_dataset=Sequences(seen=options.seen),
        eval_dataset=Sequences(8),
        callbacks=[TrainyardCallback()],  # <-
    )


def main() -> None:
    options = parse_options(__doc__)
    trainyard.init_distributed()  # optional: under torchrun, workers then die with their launcher
    trainer = make_trainer(options)
    trainer.train(resume_from_checkpoint=resume(trainer))  # <-
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
