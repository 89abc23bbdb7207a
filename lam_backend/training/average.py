"""The mean of several runs' weights: fine-tunings of one start that drew their batches from different seeds.

Wortsman et al., Model soups, 2022: such weights lie in one basin, and their mean is steadier than any of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from lam_backend.checkpoint import load_checkpoint, save_checkpoint


def average(checkpoints: Sequence[Path], out: Path, name: str) -> Path:
    """Write the mean of ``checkpoints`` (files or run folders) to ``out`` as the model ``name``.

    Raises:
        ValueError: fewer than one, or models of different form.
    """
    if not checkpoints:
        raise ValueError("no checkpoints to average; name at least one")
    loaded = [load_checkpoint(path) for path in checkpoints]
    for path, other in zip(checkpoints[1:], loaded[1:], strict=True):
        if other.config != loaded[0].config:
            raise ValueError(f"{path} is {other.config}; expected the form of {checkpoints[0]}: {loaded[0].config}")
    means = {
        key: torch.stack([checkpoint.tensors[key].float() for checkpoint in loaded]).mean(0)
        for key in loaded[0].tensors
    }
    save_checkpoint(out, means, loaded[0].config, name)
    return out
