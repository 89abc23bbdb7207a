"""Part ``ablation``: finished runs of different forms at one token budget, side by side.

Train the forms with ``python -m lam_backend.training distill --tokens N`` and one of ``--no-flux``, ``--no-backward``,
``--levels fast``, ``--levels slow``, ``--conv``, ``--memory pair``, ``--gate-rank 64``.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lam_backend.attention import parameter_count
from lam_backend.config import LAMConfig
from lam_backend.evaluation.bench import Bench
from lam_backend.evaluation.datasets import Conversation, book_files, read_locomo, read_stsb
from lam_backend.evaluation.long_texts import texts_of_length
from lam_backend.evaluation.plots import Line, save_plot
from lam_backend.evaluation.ranking import measures, percent, top
from lam_backend.evaluation.report import Part, Table, correlation, number
from lam_backend.evaluation.retrieval import WINDOW, alone, both, in_sessions
from lam_backend.evaluation.speed import Encode, interleaved
from lam_backend.evaluation.sts import correlations, cosines
from lam_backend.model import DeltaNet6Layer
from lam_backend.packaging.lam_runtime import LAMEncoder
from lam_backend.packaging.package_lam import build_folder

CONVERSATIONS = 3
TIMED = (35, 512)
"""Tokens a text at which forms are timed."""


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A run's folder, its form, its token budget and its looks at STS-B dev."""

    folder: Path
    config: LAMConfig
    budget: int
    tokens: int
    curve: list[tuple[int, float]]
    """(tokens read, Pearson on dev)."""

    @property
    def form(self) -> str:
        """What differs from the default form."""
        default = LAMConfig().to_dict()
        ours = self.config.to_dict()
        changed = [_worded(key, ours[key]) for key in ours if ours[key] != default[key]]
        return ", ".join(changed) or "ladder (default)"


def read_run(folder: Path) -> FinishedRun:
    """run.json and log.jsonl of a training run.

    Raises:
        FileNotFoundError, ValueError: no run there, or one without a look at dev.
    """
    for name in ("run.json", "log.jsonl", "model.safetensors"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder / name} is missing; --runs names folders of finished training runs")
    described = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    records = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines() if line]
    curve = [(int(record["tokens"]), float(record["dev_pearson"])) for record in records if "dev_pearson" in record]
    if not curve:
        raise ValueError(f"{folder / 'log.jsonl'} holds {len(records)} records and no dev_pearson; train it further")
    if "config" not in described:
        raise ValueError(f"{folder} is a run of the stage {described.get('stage')!r}; forms are compared after distill")
    config = LAMConfig.from_dict(described["config"])
    return FinishedRun(folder, config, int(described["tokens"]), int(records[-1]["tokens"]), curve)


def measure_ablation(bench: Bench, folders: Sequence[Path]) -> Part:
    """Parameters, STS-B dev, LoCoMo and microseconds of each run; all must have had the same budget.

    Raises:
        ValueError: no runs, or runs of different budgets or forms of different width.
    """
    runs = [read_run(folder) for folder in folders]
    if not runs:
        raise ValueError("no runs to compare; give --runs DIR…, each a folder of `python -m lam_backend.training`")
    if len(budgets := {run.budget for run in runs}) > 1:
        raise ValueError(f"the runs had budgets of {sorted(budgets)} tokens; expected one budget for all")
    models = [DeltaNet6Layer(bench.model.base_path, run.folder, run.config) for run in runs]
    microseconds = _timed(bench, [model.encode for model in models])
    graphs = _graphs(bench, models)
    in_graph = dict(zip(graphs, _timed(bench, list(graphs.values())), strict=True))
    dev = read_stsb(bench.data, "dev")
    conversations = read_locomo(bench.data)[: 1 if bench.quick else CONVERSATIONS]
    rows, figures = [], []
    for index, (run, model, times) in enumerate(zip(runs, models, microseconds, strict=True)):
        own = replace(bench, model=model, checkpoint=run.folder)
        pearson, spearman = correlations(cosines(own.lam.encode, dev), dev.score)
        turns = _turns(own, conversations)
        figure: dict[str, Any] = {
            "run": run.folder.name,
            "form": run.form,
            "parameters": parameter_count(run.config),
            "tokens": run.tokens,
            "dev_pearson": pearson,
            "dev_spearman": spearman,
            **turns,
            "microseconds": dict(zip(TIMED, times, strict=True)),
            "microseconds_int8_graph": dict(zip(TIMED, in_graph.get(index, []), strict=False)),
        }
        figures.append(figure)
        rows.append(
            [
                run.folder.name,
                run.form,
                f"{figure['parameters'] / 1e6:.2f} M",
                f"{run.tokens / 1e6:.2f} M" + ("" if run.tokens >= run.budget else " (unfinished)"),
                correlation(pearson),
                correlation(spearman),
                *(number(value) for value in turns.values()),
                *(number(value) for value in times),
                *(number(value) for value in in_graph.get(index, [])),
                *("none" for _ in TIMED if index not in in_graph),
            ]
        )
    part = Part("ablation", "Forms at one budget")
    columns = ["run", "form", "attention parameters", "tokens read", "dev Pearson", "dev Spearman"]
    columns += ["LoCoMo turn", "in context", "both"]
    columns += [f"µs a token at {tokens}, {kind}" for kind in ("torch", "int8 graph") for tokens in TIMED]
    part.tables.append(Table(f"Budget {runs[0].budget:,} tokens", columns, rows))
    part.figures["runs"] = figures
    lines = [Line(run.folder.name, [t for t, _ in run.curve], [p for _, p in run.curve]) for run in runs]
    plot = save_plot(
        bench.out / "ablation.png", {"STS-B dev Pearson": lines}, "tokens read", log_x=False, from_zero=False
    )
    part.plots.append(plot)
    part.notes += [
        f"LoCoMo: mean@10 of {len(conversations)} conversations, %; in context: {WINDOW} tokens of the session.",
        "Microseconds: batches, median of interleaved rounds. Two memories a head, or a convolution, have no graph.",
    ]
    return part


def _turns(bench: Bench, conversations: Sequence[Conversation]) -> dict[str, float]:
    found: dict[str, list[Any]] = {"turn": [], "context": [], "both": []}
    for conversation in conversations:
        questions = bench.lam.encode(conversation.questions)
        own, context = alone(bench, conversation), in_sessions(bench, conversation, WINDOW)
        for name, vectors in zip(found, (own, context, both(own, context)), strict=True):
            ranked = top(questions @ vectors.T, 10)
            found[name].append(measures(ranked, conversation.relevant, ["mean@10"])["mean@10"])
    return {name: percent(np.concatenate(values)) for name, values in found.items()}


def _graphs(bench: Bench, models: Sequence[DeltaNet6Layer]) -> dict[int, Encode]:
    """``encode`` of each model's int8 graph, by its place; forms without a graph are left out."""
    found: dict[int, Encode] = {}
    for index, model in enumerate(models):
        try:
            folder = build_folder(model, bench.out / "graphs" / str(index))
        except ValueError:
            continue
        found[index] = LAMEncoder(folder, "int8", threads=torch.get_num_threads()).encode
    shutil.rmtree(bench.out / "graphs", ignore_errors=True)  # the sessions hold what they need
    return found


def _timed(bench: Bench, encoders: Sequence[Encode]) -> list[list[float]]:
    """Microseconds a token at each of TIMED, for each encoder."""
    columns = []
    for tokens in TIMED if encoders else ():
        count = max(1, (512 if bench.quick else 4096) // tokens)
        texts = texts_of_length(bench.model.tokenizer, book_files(bench.data), tokens, count)
        seconds = interleaved([partial(encode, texts) for encode in encoders], 2 if bench.quick else 5)
        columns.append(1e6 * np.median(seconds, axis=0) / (tokens * count))
    return [[float(column[index]) for column in columns] for index in range(len(encoders))]


def _worded(key: str, value: object) -> str:
    if isinstance(value, bool):
        return key if value else f"no {key}"
    return f"{key} {value}"
