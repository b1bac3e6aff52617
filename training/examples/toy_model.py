"""A next-token model that is small, has dropout, and needs nothing but torch."""

from __future__ import annotations

import torch
from torch import nn
from toy_data import TOKENS, VOCABULARY

# B batch (this rank's share), T tokens, V vocabulary


class ToyModel(nn.Module):
    def __init__(self, dim: int = 32, dropout: float = 0.1) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, dim)
        self.places = nn.Embedding(TOKENS, dim)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(dim, nhead=2, dim_feedforward=2 * dim, dropout=dropout, batch_first=True)
            for _ in range(2)
        )
        self.head = nn.Linear(dim, VOCABULARY)

    def forward(self, tokens_BT: torch.Tensor) -> torch.Tensor:
        """Mean loss of the next tokens."""
        tokens_BT, targets_BT = tokens_BT[:, :-1], tokens_BT[:, 1:]
        length = tokens_BT.shape[1]
        x_BTD = self.tokens(tokens_BT) + self.places.weight[:length]
        mask_TT = nn.Transformer.generate_square_subsequent_mask(length)
        for block in self.blocks:
            x_BTD = block(x_BTD, src_mask=mask_TT, is_causal=True)
        logits_BTV = self.head(x_BTD)
        return nn.functional.cross_entropy(logits_BTV.flatten(0, 1), targets_BT.flatten())
