"""Lets sentence-transformers load this folder: SentenceTransformer(folder, trust_remote_code=True)."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn


class LAMModule(nn.Module):
    """Calls the wrapper, which computes in onnxruntime; nothing here is trained."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.encoder = _wrapper(Path(folder)).LAMEncoder(folder)
        self.config: dict[str, Any] = {}

    def tokenize(self, texts: list[str], **_: Any) -> dict[str, Any]:
        """The tensor only tells the caller the batch's size; the wrapper tokenises."""
        return {"texts": list(texts), "input_ids": torch.zeros(len(texts), 1, dtype=torch.long)}

    preprocess = tokenize

    def forward(self, features: dict[str, Any], **_: Any) -> dict[str, Any]:
        vectors = self.encoder.encode(features["texts"], normalize_embeddings=False)
        features["sentence_embedding"] = torch.from_numpy(vectors).to(features["input_ids"].device)
        return features

    def get_sentence_embedding_dimension(self) -> int:
        return int(self.encoder.dim)

    get_embedding_dimension = get_sentence_embedding_dimension

    @property
    def max_seq_length(self) -> int:
        return int(self.encoder.max_seq_length)

    @classmethod
    def load(cls, model_name_or_path: str, *_: Any, **__: Any) -> LAMModule:
        return cls(model_name_or_path)

    def save(self, *_: Any, **__: Any) -> None:
        raise NotImplementedError("copy the bundle's folder instead")


def _wrapper(folder: Path) -> Any:
    """The folder's own lam_wrapper.py."""
    spec = importlib.util.spec_from_file_location("lam_wrapper", folder / "lam_wrapper.py")
    if spec is None or spec.loader is None:
        raise FileNotFoundError(f"{folder / 'lam_wrapper.py'} is missing; unpack the bundle again")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault("lam_wrapper", module)
    spec.loader.exec_module(module)
    return module
