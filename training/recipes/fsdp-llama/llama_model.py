"""A Llama-architecture model from its configuration alone: nothing is downloaded, no rank ever holds the whole of it."""

from __future__ import annotations

import torch
import trainyard
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaRMSNorm, LlamaRotaryEmbedding

SHAPES = {
    "tiny": {"hidden_size": 64, "intermediate_size": 176, "num_hidden_layers": 2, "num_attention_heads": 4},
    "1b": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32},
    "8b": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32},
    "70b": {"hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80, "num_attention_heads": 64},
}
"""Of Llama 3.1 and 3.2, and one for a laptop; key and value heads follow below."""
INIT_STD = 0.02


def configuration(size: str, vocabulary: int, context: int) -> LlamaConfig:
    """Embedding and output layer are two tensors at every size: a tie would not survive the meta device."""
    return LlamaConfig(
        **SHAPES[size],
        num_key_value_heads=2 if size == "tiny" else 8,
        vocab_size=vocabulary,
        max_position_embeddings=context,
        rope_theta=500_000.0,
        tie_word_embeddings=False,
        use_cache=False,
    )


def sharded_model(
    config: LlamaConfig, world: trainyard.World, *, precision: str, recompute: bool, seed: int
) -> LlamaForCausalLM:
    """FSDP2, one group a decoder layer: parameters stay in float32, `precision` bf16 computes in bfloat16."""
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    if recompute:  # a layer's activations are computed again in the backward pass instead of kept
        model.gradient_checkpointing_enable({"use_reentrant": False})
    mesh = init_device_mesh(world.device.type, (world.world_size,))
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16 if precision == "bf16" else None, reduce_dtype=torch.float32)
    for layer in model.model.layers:
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy)
    model.to_empty(device=world.device)
    initialize(model, seed * 100_003 + world.rank)
    # to_empty leaves garbage in what is computed and not learned.
    model.model.rotary_emb = LlamaRotaryEmbedding(config).to(world.device)
    return model


@torch.no_grad()
def initialize(model: nn.Module, seed: int) -> None:
    """Every rank fills the part that it holds, from a seed of its own: one seed for all would repeat rows."""
    generator = torch.Generator(next(model.parameters()).device).manual_seed(seed)
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            local = parameter.to_local() if isinstance(parameter, DTensor) else parameter
            if isinstance(module, LlamaRMSNorm):
                local.fill_(1.0)
            else:
                local.normal_(std=INIT_STD, generator=generator)
