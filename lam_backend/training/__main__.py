"""``python -m lam_backend.training {distill,long,finetune} --data DATA --out RUN``."""

from __future__ import annotations

import argparse
import os
from dataclasses import fields
from pathlib import Path

import torch

from lam_backend.config import LAMConfig
from lam_backend.training.distill import DistillPlan, distill


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m lam_backend.training", description=__doc__)
    stages = parser.add_subparsers(dest="stage", required=True)
    stage = stages.add_parser("distill", help="stage 1: learn the teacher's states, vectors and similarities")
    stage.add_argument("--data", type=Path, required=True, help="folder that holds train/ and eval/")
    stage.add_argument("--out", type=Path, required=True, help="folder of the run; an unfinished run continues")
    stage.add_argument("--start", type=Path, help="checkpoint to begin from (default: the base's weights)")
    stage.add_argument("--base", type=Path, help="base model folder (default: the packaged all-MiniLM-L6-v2)")
    stage.add_argument("--threads", type=int, default=os.cpu_count(), help="CPU threads")
    for field in fields(DistillPlan):
        stage.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default)
    shape = stage.add_argument_group("form of the model")
    shape.add_argument("--memory", choices=("ladder", "pair"), default="ladder")
    shape.add_argument("--levels", choices=("both", "fast", "slow"), default="both")
    shape.add_argument("--gate-rank", type=int, default=0)
    for switch in ("flux", "backward", "conv"):
        default = getattr(LAMConfig(), switch)
        shape.add_argument(f"--{switch}", action=argparse.BooleanOptionalAction, default=default)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    plan = DistillPlan(**{field.name: getattr(chosen, field.name) for field in fields(DistillPlan)})
    config = LAMConfig(
        memory=chosen.memory,
        levels=chosen.levels,
        gate_rank=chosen.gate_rank,
        flux=chosen.flux,
        backward=chosen.backward,
        conv=chosen.conv,
    )
    distill(chosen.data, chosen.out, plan, config, base=chosen.base, start=chosen.start)


if __name__ == "__main__":
    main()
