"""A byte-level GPT, small enough for a CPU: what train.py trains.

Pre-norm transformer blocks, learned positions, causal attention by torch's own kernel.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

# B batch, T tokens (bytes), D model, N heads, H head dim, V vocabulary (the 256 bytes)

VOCABULARY = 256
INIT_STD = 0.02


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    block_size: int = 64
    layers: int = 5
    heads: int = 4
    dim: int = 128
    dropout: float = 0.0
    tied: bool = False
    """The output layer uses the embedding's weight."""

    def __post_init__(self) -> None:
        if self.dim % self.heads:
            raise ValueError(f"--dim {self.dim} does not divide by --heads {self.heads}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"--dropout {self.dropout} is not in [0, 1)")


class Attention(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.dim, 3 * config.dim, bias=False)
        self.out = nn.Linear(config.dim, config.dim, bias=False)

    def forward(self, x_BTD: torch.Tensor) -> torch.Tensor:
        qkv_BTNH = self.qkv(x_BTD).unflatten(-1, (3 * self.heads, -1))
        q_BNTH, k_BNTH, v_BNTH = qkv_BTNH.transpose(1, 2).chunk(3, dim=1)
        y_BNTH = F.scaled_dot_product_attention(q_BNTH, k_BNTH, v_BNTH, is_causal=True)
        return self.out(y_BNTH.transpose(1, 2).flatten(-2))


class Block(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(config.dim, bias=False)
        self.attention = Attention(config)
        self.norm_mlp = nn.LayerNorm(config.dim, bias=False)
        self.up = nn.Linear(config.dim, 4 * config.dim, bias=False)
        self.down = nn.Linear(4 * config.dim, config.dim, bias=False)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x_BTD: torch.Tensor) -> torch.Tensor:
        x_BTD = x_BTD + self.dropout(self.attention(self.norm_attention(x_BTD)))
        return x_BTD + self.dropout(self.down(F.gelu(self.up(self.norm_mlp(x_BTD)))))


class GPT(nn.Module):
    """Bytes (B, T) to logits (B, T, V); the loss is cross-entropy in nats a byte."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(VOCABULARY, config.dim)
        self.position = nn.Embedding(config.block_size, config.dim)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.dim, bias=False)
        # Tied weights are one parameter used twice, not two names for one tensor: a checkpoint then holds it once.
        self.head = None if config.tied else nn.Linear(config.dim, VOCABULARY, bias=False)
        self._init_weights()

    def _init_weights(self) -> None:
        # Each block adds to the residual stream twice; smaller output layers keep its variance from growing with depth.
        residual_std = INIT_STD / (2 * self.config.layers) ** 0.5
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                is_residual = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(parameter, std=residual_std if is_residual else INIT_STD)

    def forward(self, tokens_BT: torch.Tensor) -> torch.Tensor:
        positions_T = torch.arange(tokens_BT.shape[1], device=tokens_BT.device)
        x_BTD = self.embedding(tokens_BT) + self.position(positions_T)
        for block in self.blocks:
            x_BTD = block(x_BTD)
        x_BTD = self.norm(x_BTD)
        return F.linear(x_BTD, self.embedding.weight) if self.head is None else self.head(x_BTD)


def nats_per_byte(logits_BTV: torch.Tensor, targets_BT: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy over all bytes of the batch (0-d, float32)."""
    return F.cross_entropy(logits_BTV.flatten(0, 1).float(), targets_BT.flatten())


@torch.no_grad()
def generate(model: nn.Module, prompt: bytes, num_bytes: int, block_size: int, *, seed: int, temperature: float = 0.8) -> bytes:
    """`prompt` and `num_bytes` more. Draws from a generator of its own, so the training's RNG stays as it was.

    With FSDP every rank must call it: each forward pass gathers the parameters.
    """
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    tokens = list(prompt)
    for _ in range(num_bytes):
        window_BT = torch.tensor([tokens[-block_size:]], device=device)
        logits_V = model(window_BT)[0, -1].float().cpu()
        probabilities_V = torch.softmax(logits_V / temperature, dim=-1)
        tokens.append(int(torch.multinomial(probabilities_V, 1, generator=generator)))
    return bytes(tokens)
