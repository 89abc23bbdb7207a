"""A tiny BERT base on disk, so that the model's behaviour is tested in milliseconds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from lam_backend.config import LAMConfig
from lam_backend.model import DeltaNet6Layer

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,!?'-"
WORDS = [
    "the",
    "cat",
    "dog",
    "sat",
    "on",
    "mat",
    "ran",
    "home",
    "and",
    "then",
    "saw",
    "a",
    "bird",
    "fly",
    "over",
    "sea",
]
TINY = LAMConfig(d_model=32, num_heads=4, num_layers=2, segment_length=32, chunk_length=8, gate_rank=8)


def write_base(folder: Path, config: LAMConfig = TINY) -> Path:
    """A random BERT of ``config``'s size with a WordPiece tokenizer over letters and a few words."""
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *LETTERS, *(f"##{c}" for c in LETTERS), *WORDS]
    tokens = {token: index for index, token in enumerate(dict.fromkeys(vocabulary))}
    tokenizer = Tokenizer(models.WordPiece(tokens, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator) * (shape[-1] ** -0.5 if len(shape) > 1 else 0.1)

    d, inner = config.d_model, 4 * config.d_model
    weights = {
        "embeddings.word_embeddings.weight": normal(len(tokens), d) * d**0.5,
        "embeddings.position_embeddings.weight": normal(config.segment_length, d),
        "embeddings.token_type_embeddings.weight": normal(2, d),
    }
    norms = ["embeddings.LayerNorm"]
    for index in range(config.num_layers):
        layer = f"encoder.layer.{index}."
        sizes = {f"attention.self.{part}": (d, d) for part in ("query", "key", "value")}
        sizes |= {"attention.output.dense": (d, d), "intermediate.dense": (inner, d), "output.dense": (d, inner)}
        for name, size in sizes.items():
            weights[f"{layer}{name}.weight"], weights[f"{layer}{name}.bias"] = normal(*size), normal(size[0])
        norms += [f"{layer}attention.output.LayerNorm", f"{layer}output.LayerNorm"]
    for name in norms:
        weights[f"{name}.weight"], weights[f"{name}.bias"] = torch.ones(d), torch.zeros(d)
    save_file(weights, str(folder / "model.safetensors"))
    described = {
        "model_type": "bert", "vocab_size": len(tokens), "hidden_size": d, "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads, "intermediate_size": inner, "hidden_act": "gelu",
        "max_position_embeddings": config.segment_length, "type_vocab_size": 2,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(described), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base") / "tiny")


def restless(model: DeltaNet6Layer) -> DeltaNet6Layer:
    """Move every trained weight off its neutral start, so that no part of the layer is idle."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.trained_state().values():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.2 * parameter.shape[-1] ** -0.5)
    return model.eval()


@pytest.fixture(scope="session")
def tiny(base: Path) -> DeltaNet6Layer:
    return restless(DeltaNet6Layer.untrained(base, TINY))
