"""The mean of several runs' weights, as a folder that can be released.

Fine-tunings of one start that drew their batches from different seeds lie in one basin, and their mean is steadier than
any of them (Wortsman et al., Model soups, 2022).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch

from lam_backend.base import load_base
from lam_backend.checkpoint import WEIGHTS_FILE, load_checkpoint, save_checkpoint
from lam_backend.packaging.archive import sha256

CONFIG_FILE = "config.json"


def average(checkpoints: Sequence[Path], out: Path, name: str, base: Path | None = None) -> Path:
    """Write the mean of ``checkpoints`` (files or run folders) into the folder ``out``, in bfloat16.

    ``config.json`` beside the weights tells the form, and which base and tokenizer they were trained on.

    Raises:
        ValueError: none given, or models of different form.
    """
    if not checkpoints:
        raise ValueError("no checkpoints to average; name at least one")
    loaded = [load_checkpoint(path) for path in checkpoints]
    for path, other in zip(checkpoints[1:], loaded[1:], strict=True):
        if other.config != loaded[0].config:
            raise ValueError(f"{path} is {other.config}; expected the form of {checkpoints[0]}: {loaded[0].config}")
    means = {key: torch.stack([checkpoint.tensors[key] for checkpoint in loaded]).mean(0) for key in loaded[0].tensors}
    folder, _ = load_base(base)
    hashes = {file: sha256(folder / file) for file in ("model.safetensors", "tokenizer.json")}
    save_checkpoint(out / WEIGHTS_FILE, means, loaded[0].config, name, dtype=torch.bfloat16)
    described = {"name": name, **loaded[0].config.to_dict(), "base": "all-MiniLM-L6-v2", "base_sha256": hashes}
    (out / CONFIG_FILE).write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
    return out
