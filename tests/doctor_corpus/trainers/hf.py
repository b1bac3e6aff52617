import torch
from torch import nn
from torch.utils.data import Dataset
from transformers import Trainer, TrainingArguments


class Pairs(Dataset):
    def __len__(self):
        return 128

    def __getitem__(self, i):
        # <sample>
        generator = torch.Generator().manual_seed(i)
        return {"x": torch.randn(8, generator=generator), "labels": torch.tensor(i % 2)}


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))

    def forward(self, x, labels):
        logits = self.layers(x)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


if __name__ == "__main__":
    told = {"logging_steps": 2, "report_to": "none", "use_cpu": True, "ddp_backend": "gloo", "save_strategy": "no"}
    arguments = TrainingArguments("out", per_device_train_batch_size=4, num_train_epochs=2, **told)
    Trainer(model=Classifier(), args=arguments, train_dataset=Pairs()).train()
