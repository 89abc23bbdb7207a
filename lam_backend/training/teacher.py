"""The teacher: the base with its own softmax attention, and what the student takes from it at the start."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from lam_backend.model import DeltaNet6Layer, pooled


class Teacher:
    """A frozen BERT sentence encoder that gives hidden states and unit vectors for texts up to its positions."""

    def __init__(self, folder: Path) -> None:
        from transformers import BertModel
        from transformers.utils import logging

        logging.set_verbosity_error()  # else it reports that the pooler, which is not loaded, is not loaded
        logging.disable_progress_bar()
        self.bert = BertModel.from_pretrained(str(folder), add_pooling_layer=False).eval().requires_grad_(False)

    @torch.no_grad()
    def embed(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Unit vectors (B, D) and the hidden states, num_layers + 1 of (B, T, D)."""
        out = self.bert(input_ids=ids, attention_mask=mask.long(), output_hidden_states=True)
        hidden = list(out.hidden_states)
        return F.normalize(pooled(hidden[-1], mask), dim=-1), hidden


@torch.no_grad()
def calibrate(student: DeltaNet6Layer, teacher: Teacher, ids: Tensor, mask: Tensor) -> None:
    """Start each head's norm weight at the RMS of the teacher's read in that head, measured on one batch."""
    heads = teacher.bert.config.num_attention_heads
    _, hidden = teacher.embed(ids, mask)
    keep = mask[:, None, :, None].float()
    bias = torch.zeros(mask.shape).masked_fill(~mask, float("-inf"))[:, None, None]
    for index, layer in enumerate(student.lam_layers):
        attention = teacher.bert.encoder.layer[index].attention.self
        q, k, v = (
            project(hidden[index]).unflatten(-1, (heads, -1)).transpose(1, 2)
            for project in (attention.query, attention.key, attention.value)
        )
        read = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)  # (B, H, T, V)
        channels = ((read.square() * keep).sum((0, 2)) / keep.sum()).flatten()  # (D,): the student's heads may be wider
        mean_square = channels.view(student.config.num_heads, -1).mean(-1, keepdim=True)
        layer.attention.read_norm.copy_(mean_square.sqrt().expand(-1, student.config.head_dim))
