import lightning as L
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Regression(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1))

    def training_step(self, batch, batch_index):
        x, y = batch
        loss = nn.functional.mse_loss(self.layers(x), y)
        # <step>
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-3)


if __name__ == "__main__":
    L.seed_everything(7)
    data = TensorDataset(torch.randn(256, 8), torch.randn(256, 1))
    told = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_model_summary": False,
        "max_epochs": 1,
        "log_every_n_steps": 1,
    }
    trainer = L.Trainer(accelerator="cpu", devices=2, strategy="ddp", detect_anomaly=True, **told)
    trainer.fit(Regression(), DataLoader(data, batch_size=8))
