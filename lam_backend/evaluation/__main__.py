"""``python -m lam_backend.evaluation {sts,retrieval,…,all} --data DATA --out DIR``."""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from lam_backend.arguments import at_least
from lam_backend.evaluation.ablation import measure_ablation
from lam_backend.evaluation.bench import Bench
from lam_backend.evaluation.long_context import measure_long_context
from lam_backend.evaluation.report import About, Part, write_part
from lam_backend.evaluation.retrieval import measure_retrieval
from lam_backend.evaluation.scaling import measure_scaling
from lam_backend.evaluation.similarity import measure_similarity
from lam_backend.evaluation.speed import measure_speed
from lam_backend.model import DeltaNet6Layer


def parser() -> argparse.ArgumentParser:
    main = argparse.ArgumentParser(prog="python -m lam_backend.evaluation", description=__doc__)
    parts = main.add_subparsers(dest="part", required=True)

    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--data", type=Path, required=True, help="folder that holds eval/")
    common.add_argument("--out", type=Path, required=True, help="where JSON, tables, plots and REPORT.md are written")
    common.add_argument("--model", type=Path, help="checkpoint file or folder (default: the released weights)")
    common.add_argument("--base", type=Path, help="base model folder (default: the packaged all-MiniLM-L6-v2)")
    common.add_argument("--mpnet", type=Path, help="folder of an unpacked all-mpnet-base-v2, measured beside")
    common.add_argument("--no-peers", action="store_true", help="measure LAM and BM25 only")
    common.add_argument("--cache", type=Path, help="where vectors are kept between runs (default: OUT/vectors)")
    common.add_argument("--quick", action="store_true", help="small samples, to see that it runs")
    common.add_argument("--seed", type=int, default=0)
    common.add_argument("--threads", type=at_least(1), default=os.cpu_count(), help="CPU threads")

    sts = parts.add_parser("sts", parents=[common], help="STS-B dev and test, STS12–15")
    sts.add_argument("--dev-only", action="store_true", help="STS-B dev alone: to select a model without its test")
    retrieval = parts.add_parser("retrieval", parents=[common], help="LoCoMo, Cranfield, SciFact")
    retrieval.add_argument("--sets", nargs="+", choices=("locomo", "cranfield", "scifact"), metavar="SET")
    scaling = parts.add_parser("scaling", parents=[common], help="seconds and memory of one pass, 128 to 1M tokens")
    scaling.add_argument("--lengths", type=at_least(2), nargs="+", metavar="TOKENS", help="instead of 128 … 1,000,000")
    scaling.add_argument(
        "--packaged", action="store_true", help="measure the bundle in onnxruntime, not the torch model"
    )
    long = parts.add_parser("long-context", parents=[common], help="passages of books and meetings")
    long.add_argument("--books", type=at_least(1), default=4)
    long.add_argument("--queries", type=at_least(1), default=150, help="for each book")
    long.add_argument("--meetings", type=at_least(1), default=20)
    long.add_argument("--passages", type=at_least(1), default=3000, help="read a book up to so many")
    speed = parts.add_parser("speed", parents=[common], help="latency and rates beside MiniLM in onnxruntime and torch")
    speed.add_argument("--rounds", type=at_least(1), default=5)
    ablation = parts.add_parser("ablation", parents=[common], help="finished runs of different forms, one budget")
    ablation.add_argument("--runs", type=Path, nargs="+", required=True, metavar="DIR")
    everything = parts.add_parser("all", parents=[common], help="every part; the ablation if --runs are given")
    everything.add_argument("--runs", type=Path, nargs="+", metavar="DIR")
    return main


def _sts(bench: Bench, chosen: argparse.Namespace) -> Part:
    if getattr(chosen, "dev_only", False):
        return measure_similarity(bench, splits=("dev",), years=())
    return measure_similarity(bench)


def _retrieval(bench: Bench, chosen: argparse.Namespace) -> Part:
    sets = getattr(chosen, "sets", None)
    return measure_retrieval(bench, sets=sets) if sets else measure_retrieval(bench)


def _scaling(bench: Bench, chosen: argparse.Namespace) -> Part:
    return measure_scaling(bench, getattr(chosen, "lengths", None), packaged=getattr(chosen, "packaged", False))


def _long_context(bench: Bench, chosen: argparse.Namespace) -> Part:
    if chosen.part == "all":
        return measure_long_context(bench)
    return measure_long_context(
        bench, books=chosen.books, queries=chosen.queries, meetings=chosen.meetings, passages=chosen.passages
    )


def _speed(bench: Bench, chosen: argparse.Namespace) -> Part:
    return measure_speed(bench, getattr(chosen, "rounds", 5))


def _ablation(bench: Bench, chosen: argparse.Namespace) -> Part:
    return measure_ablation(bench, chosen.runs)


PARTS: dict[str, Callable[[Bench, argparse.Namespace], Part]] = {
    "sts": _sts,
    "retrieval": _retrieval,
    "long-context": _long_context,
    "speed": _speed,
    "scaling": _scaling,
    "ablation": _ablation,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the chosen part, or all; each is written as soon as it is done."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    chosen = parser().parse_args(given)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("lam_backend").setLevel(logging.INFO)
    torch.set_num_threads(chosen.threads)
    model = DeltaNet6Layer(chosen.base, chosen.model)
    bench = Bench.of(
        chosen.data,
        chosen.out,
        model,
        checkpoint=chosen.model,
        cache=chosen.cache,
        with_peers=not chosen.no_peers,
        mpnet=chosen.mpnet,
        quick=chosen.quick,
        seed=chosen.seed,
    )
    command = f"python -m lam_backend.evaluation {shlex.join(given)}"
    about = About(model.fingerprint, command, chosen.threads, chosen.quick)
    everything = [name for name in PARTS if name != "ablation" or getattr(chosen, "runs", None)]
    for name in everything if chosen.part == "all" else [chosen.part]:
        part = PARTS[name](bench, chosen)
        report = write_part(chosen.out, part, about)
        sys.stdout.write(part.markdown() + "\n")
        sys.stdout.flush()
    sys.stdout.write(f"written to {report}\n")


if __name__ == "__main__":
    main()
