"""Checkpoints by transformers and Lightning, each by its own writer: `python write_library_samples.py FOLDER transformers|lightning`."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import torch

warnings.simplefilter("ignore")


def write_transformers(root: Path) -> None:
    """save_pretrained in one file, in shards and as .bin shards; a Trainer's checkpoint; a trainyard checkpoint of the same model."""
    from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

    sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "training"))
    import trainyard

    torch.manual_seed(1)
    config = GPT2Config(n_layer=1, n_head=2, n_embd=16, vocab_size=64, n_positions=16, bos_token_id=0, eos_token_id=0)
    model = GPT2LMHeadModel(config)
    model.save_pretrained(root / "hf")
    model.save_pretrained(root / "hf-sharded", max_shard_size="8KB")
    rows = [{"input_ids": [1, 2, 3], "labels": [1, 2, 3]} for _ in range(4)]
    arguments = TrainingArguments(
        output_dir=str(root / "trainer"),
        max_steps=2,
        save_steps=1,
        per_device_train_batch_size=2,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    Trainer(model=model, args=arguments, train_dataset=rows).train()
    ck = trainyard.Checkpointer(
        root / "trainyard-gpt2",
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), 0.1),
        policy=trainyard.SavePolicy(rolling_steps=1),
    )
    ck.restore()
    ck.step(1, loss=1.0)
    ck.close(finished=True)
    torch.save(model.state_dict(), root / "trainyard-gpt2.pt")
    config.save_pretrained(root / "config")


def write_lightning(root: Path) -> None:
    """Trainer.save_checkpoint, whole and weights only."""
    import lightning
    from torch.utils.data import DataLoader, TensorDataset

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.save_hyperparameters({"width": 4})
            self.layer = torch.nn.Linear(4, 1)

        def training_step(self, batch: list[torch.Tensor]) -> torch.Tensor:
            return self.layer(batch[0]).square().mean()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters())

    trainer = lightning.Trainer(
        max_steps=3,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Module(), DataLoader(TensorDataset(torch.ones(8, 4)), batch_size=2))
    trainer.save_checkpoint(root / "last.ckpt")
    trainer.save_checkpoint(root / "weights.ckpt", weights_only=True)


if __name__ == "__main__":
    {"transformers": write_transformers, "lightning": write_lightning}[sys.argv[2]](Path(sys.argv[1]))
