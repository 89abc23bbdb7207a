"""Vectors of many texts: batches of similar length, long texts segment by segment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from tqdm import tqdm

from lam_backend.tokenizer import PIECE_CHARACTERS

if TYPE_CHECKING:
    from lam_backend.model import DeltaNet6Layer


def mean_vectors(model: DeltaNet6Layer, texts: list[str], batch_size: int, progress: bool) -> Tensor:
    """Mean token vector of each text, (n, D), in input order; not normalised.

    Texts are read longest first in batches of similar length. A text beyond ``PIECE_CHARACTERS`` is streamed, so that
    neither its ids nor its states are ever held at once.
    """
    out = torch.zeros(len(texts), model.config.d_model)
    short = [index for index, text in enumerate(texts) if len(text) <= PIECE_CHARACTERS]
    tokenised = model.tokenizer.ids([texts[index] for index in short])
    ids = {index: model.tokenizer.wrapped(item) for index, item in zip(short, tokenised, strict=True)}
    order = sorted(short, key=lambda index: -len(ids[index]))
    for start in tqdm(range(0, len(order), batch_size), desc="Batches", unit="batch", disable=not progress):
        chosen = order[start : start + batch_size]
        out[chosen] = _mean_over_segments(model, [ids[index] for index in chosen])
    for index, text in enumerate(texts):
        if len(text) > PIECE_CHARACTERS:
            stream = model.stream()
            stream.append(text)
            out[index] = stream.mean
    return out


def _mean_over_segments(model: DeltaNet6Layer, batch: Sequence[Sequence[int]]) -> Tensor:
    """Mean of token vectors for each text (longest first), (B, D), its segments read in order."""
    total = torch.zeros(len(batch), model.config.d_model)
    states: list[Tensor] | None = None
    length = model.config.segment_length
    for start in range(0, len(batch[0]), length):
        segment = [ids[start : start + length] for ids in batch if len(ids) > start]
        live = len(segment)
        tokens, mask = model.padded(segment)
        if states is not None:
            states = [state[:live] for state in states]
        vectors, states = model.read(tokens, mask, states)
        total[:live] += (vectors.float() * mask[..., None]).sum(1)
    return total / torch.tensor([len(ids) for ids in batch])[:, None]
