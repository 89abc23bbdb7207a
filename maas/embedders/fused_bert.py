"""BERT's layers as PyTorch's own encoder layers: the same weights and results, one native call a layer.

transformers runs each layer as some twenty operations from Python. For one short text that is a fifth of the time,
and each operation waits anew for the interpreter while other threads serve requests.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions
from transformers.models.bert.modeling_bert import BertLayer, BertModel


def fuse(model: nn.Module) -> None:
    """Replace the layers of each BERT inside ``model``, where PyTorch's layer computes the same; else leave it."""
    berts: list[Any] = [module for module in model.modules() if isinstance(module, BertModel)]
    for bert in berts:
        plain = bert.config.hidden_act == "gelu" and not bert.config.is_decoder
        if plain and all(type(layer) is BertLayer for layer in bert.encoder.layer):
            bert.encoder = FusedEncoder(bert.encoder, bert.config)


class FusedEncoder(nn.Module):
    """Stands in for transformers' ``BertEncoder``, for inference alone."""

    def __init__(self, encoder: Any, config: Any) -> None:
        super().__init__()
        self.layer = nn.ModuleList([_fused(layer, config) for layer in encoder.layer])
        self.eval().requires_grad_(False)

    def forward(
        self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, **_: Any
    ) -> BaseModelOutputWithPastAndCrossAttentions:
        """``hidden_states`` (n, tokens, width); ``attention_mask`` (n, 1, tokens, tokens): True or 0 where it looks."""
        padding = None
        if attention_mask is not None:
            seen = attention_mask[:, 0, 0]
            padding = ~seen if seen.dtype == torch.bool else seen != 0
        for layer in self.layer:
            hidden_states = layer(hidden_states, src_key_padding_mask=padding)
        return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=hidden_states)


def _fused(layer: BertLayer, config: Any) -> nn.Module:
    attention, output = layer.attention.self, layer.attention.output
    parts = (attention.query, attention.key, attention.value)
    fused: nn.Module = nn.utils.skip_init(  # type: ignore[no-untyped-call]
        nn.TransformerEncoderLayer,
        config.hidden_size,
        config.num_attention_heads,
        config.intermediate_size,
        activation="gelu",
        layer_norm_eps=config.layer_norm_eps,
        batch_first=True,
    )
    weights = {
        "self_attn.in_proj_weight": torch.cat([part.weight for part in parts]),
        "self_attn.in_proj_bias": torch.cat([part.bias for part in parts]),
    }
    renamed = {
        "self_attn.out_proj": output.dense,
        "norm1": output.LayerNorm,
        "linear1": layer.intermediate.dense,
        "linear2": layer.output.dense,
        "norm2": layer.output.LayerNorm,
    }
    for name, module in renamed.items():
        weights |= {f"{name}.{part}": value for part, value in module.state_dict().items()}
    fused.load_state_dict(weights, assign=True)
    return fused
