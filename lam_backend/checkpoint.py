"""Checkpoints: a safetensors file whose header carries the config."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from lam_backend.config import LAMConfig
from lam_backend.packaging.archive import sha256

RELEASED = Path(__file__).parent / "weights" / "lam-base-v1"
WEIGHTS_FILE = "model.safetensors"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The trained tensors of one model, with the config they were trained under."""

    path: Path
    name: str
    config: LAMConfig
    tensors: dict[str, Tensor]
    digest: str
    """SHA-256 of the file, hexadecimal."""

    @property
    def fingerprint(self) -> str:
        """Identity of the vector space: name, dim, pooling and the hash of the trained weights."""
        return f"{self.name}:{self.config.d_model}:mean:{self.digest[:16]}"

    def agreeing_config(self, asked: Mapping[str, Any] | LAMConfig | None) -> LAMConfig:
        """The checkpoint's config; ValueError when ``asked`` says otherwise on any field it names."""
        wanted = asked.to_dict() if isinstance(asked, LAMConfig) else dict(asked or {})
        LAMConfig.from_dict(wanted)
        held = self.config.to_dict()
        for key, value in wanted.items():
            if held[key] != value:
                raise ValueError(f"{self.path} was trained with {key}={held[key]!r}, the config asks for {value!r}")
        return self.config

    def check_base(self, folder: Path) -> None:
        """ValueError when ``config.json`` beside this file names another base or tokenizer by their hashes."""
        described = self.path.with_name("config.json")
        if not described.is_file():
            return
        for name, expected in json.loads(described.read_text(encoding="utf-8")).get("base_sha256", {}).items():
            if (found := sha256(folder / name)) != expected:
                raise ValueError(
                    f"{folder / name} has the SHA-256 {found}; {self.path} was trained on {expected}: "
                    "give the base it was trained on, or none for the packaged one"
                )

    def check_tensors(self, expected: Mapping[str, Tensor]) -> None:
        """ValueError naming the first tensor that is missing, left over or of another shape."""
        for name, tensor in expected.items():
            if name not in self.tensors:
                raise ValueError(f"{self.path} lacks the tensor {name}; it is no checkpoint of this model")
            if self.tensors[name].shape != tensor.shape:
                raise ValueError(
                    f"{self.path}: {name} has the shape {tuple(self.tensors[name].shape)}, "
                    f"the config expects {tuple(tensor.shape)}"
                )
        if extra := sorted(set(self.tensors) - set(expected)):
            raise ValueError(f"{self.path} holds the unknown tensor {extra[0]} ({len(extra)} unknown in all)")


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint file, or the model.safetensors of a folder.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: no safetensors file (a pickle, a cut file), or no config in its header.
    """
    file = path / WEIGHTS_FILE if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(f"no checkpoint at {file}; train one with `python -m lam_backend.training distill`")
    try:
        with safe_open(str(file), framework="pt") as opened:
            header = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name).float() for name in opened.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{file} is no intact safetensors file: {error}") from None
    if "lam_config" not in header:
        raise ValueError(f"{file} carries no lam_config in its header; it is no LAM checkpoint")
    try:
        config = LAMConfig.from_dict(json.loads(header["lam_config"]))
    except (ValueError, TypeError) as error:
        raise ValueError(f"the lam_config in the header of {file} fits no LAM: {error}") from None
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return Checkpoint(file, header.get("name", file.parent.name), config, tensors, digest)


def save_checkpoint(
    path: Path, tensors: Mapping[str, Tensor], config: LAMConfig, name: str, dtype: torch.dtype = torch.float32
) -> None:
    """Write ``path`` whole or not at all; the same tensors, config and name give the same bytes."""
    stored = {key: tensor.detach().to(dtype).contiguous() for key, tensor in tensors.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_bytes(_ordered(save(stored, {"lam_config": json.dumps(config.to_dict()), "name": name})))
    partial.replace(path)


def _ordered(content: bytes) -> bytes:
    """A safetensors file with its metadata in the order of their names.

    The library writes them in an order of chance, and the fingerprint of weights is a hash of their file. The header
    is JSON behind its length in eight bytes, filled up with spaces to a multiple of eight
    (https://github.com/huggingface/safetensors, "Format").
    """
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[end:]
