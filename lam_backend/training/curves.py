"""Loss and dev curves of a run as a picture."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

SMOOTHING = 25
"""Steps the loss is averaged over."""


def plot_curves(folder: Path) -> Path:
    """Draw ``log.jsonl`` of a run to ``curves.png`` beside it: loss by tokens, and STS-B dev.

    Raises:
        FileNotFoundError: no log there.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    with (folder / "log.jsonl").open(encoding="utf-8") as file:
        records = [json.loads(line) for line in file if line.strip()]
    tokens = np.array([record["tokens"] for record in records]) / 1e6
    losses = np.array([record["loss"] for record in records])
    window = min(SMOOTHING, len(losses))
    smooth = np.convolve(losses, np.ones(window) / window, mode="valid")
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    left.plot(tokens, losses, color="0.8", linewidth=0.6)
    left.plot(tokens[window - 1 :], smooth)
    left.set(xlabel="million tokens", ylabel="loss", yscale="log", title=folder.name)
    seen = [(r["tokens"] / 1e6, r["dev_pearson"], r["dev_spearman"]) for r in records if "dev_pearson" in r]
    for column, label in ((1, "Pearson"), (2, "Spearman")):
        right.plot([row[0] for row in seen], [row[column] for row in seen], marker=".", label=label)
    right.set(xlabel="million tokens", ylabel="STS-B dev")
    right.legend()
    file_name = folder / "curves.png"
    figure.savefig(file_name, dpi=120)
    plt.close(figure)
    return file_name
