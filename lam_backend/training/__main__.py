"""Train LAM in stages; each is resumable: give the same arguments again and it continues."""

from __future__ import annotations

import argparse
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from lam_backend.arguments import at_least
from lam_backend.config import LAMConfig
from lam_backend.training.average import average
from lam_backend.training.curves import plot_curves
from lam_backend.training.distill import DistillPlan, distill
from lam_backend.training.finetune import FinetunePlan, finetune
from lam_backend.training.long import LongPlan, train_long
from lam_backend.training.loop import Pace

PLANS: dict[str, tuple[type[Any], str]] = {
    "distill": (DistillPlan, "stage 1: learn the teacher's states, vectors and similarities"),
    "long": (LongPlan, "stage 2: texts of several segments with carried and foreign memories"),
    "finetune": (FinetunePlan, "stage 3: STS-B, a stronger teacher's similarities, contrast, questions"),
}
SHAPE = {"memory": ("ladder", "pair"), "levels": ("both", "fast", "slow")}
SWITCHES = ("flux", "backward", "conv")


def main(argv: list[str] | None = None) -> None:
    """Run one stage; exits 2 on unusable arguments, 1 when data or checkpoints do not fit."""
    parser = build_parser()
    chosen = parser.parse_args(argv)
    if chosen.stage == "average":
        try:
            average(chosen.checkpoints, chosen.out, chosen.name, chosen.base)
        except (FileNotFoundError, ValueError) as error:
            parser.exit(1, f"error: {error}\n")
        return
    torch.set_num_threads(chosen.threads)
    plan_type = PLANS[chosen.stage][0]
    plan = plan_type(**{field.name: getattr(chosen, field.name) for field in fields(plan_type)})
    pace = Pace(save_every=chosen.save_every, dev_every=chosen.dev_every)
    try:
        if chosen.stage == "distill":
            names = (*SHAPE, "num_heads", "gate_rank", *SWITCHES)
            config = LAMConfig(**{name: getattr(chosen, name) for name in names})
            distill(chosen.data, chosen.out, plan, config, base=chosen.base, start=chosen.start, pace=pace)
        elif chosen.stage == "long":
            train_long(chosen.data, chosen.out, plan, chosen.start, base=chosen.base, pace=pace)
        else:
            finetune(chosen.data, chosen.out, plan, chosen.start, base=chosen.base, stronger=chosen.stronger, pace=pace)
        plot_curves(chosen.out)
    except (FileNotFoundError, ValueError) as error:
        parser.exit(1, f"error: {error}\n")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lam_backend.training", description=__doc__)
    stages = parser.add_subparsers(dest="stage", required=True)
    for name, (plan, text) in PLANS.items():
        stage = stages.add_parser(name, help=text, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
        stage.add_argument("--data", type=Path, required=True, help="folder that holds train/ and eval/")
        stage.add_argument("--out", type=Path, required=True, help="folder of the run")
        stage.add_argument("--base", type=Path, help="base model folder; none: the packaged all-MiniLM-L6-v2")
        stage.add_argument("--start", type=Path, required=name != "distill", help="checkpoint to begin from")
        stage.add_argument("--threads", type=at_least(1), default=os.cpu_count(), help="CPU threads")
        stage.add_argument("--save-every", type=float, default=Pace().save_every, help="seconds between saves")
        stage.add_argument("--dev-every", type=at_least(1), default=Pace().dev_every, help="steps between looks at dev")
        for field in fields(plan):
            flag = f"--{field.name.replace('_', '-')}"
            stage.add_argument(flag, type=type(field.default), default=field.default, help=" ")
        if name == "distill":
            for key, values in SHAPE.items():
                stage.add_argument(f"--{key}", choices=values, default=values[0], help="form of the model")
            stage.add_argument("--num-heads", type=int, default=LAMConfig().num_heads, help="heads of d_model / n")
            stage.add_argument(
                "--gate-rank", type=int, default=LAMConfig().gate_rank, help="rank of the output gate; 0: full"
            )
            for switch in SWITCHES:
                default = getattr(LAMConfig(), switch)
                stage.add_argument(f"--{switch}", action=argparse.BooleanOptionalAction, default=default, help=" ")
        if name == "finetune":
            stage.add_argument("--stronger", type=Path, help="folder of all-mpnet-base-v2")
    mean = stages.add_parser("average", help="the mean of several runs' weights")
    mean.add_argument("checkpoints", type=Path, nargs="+", help="checkpoint files or run folders of one form")
    mean.add_argument("--out", type=Path, required=True, help="the folder to write")
    mean.add_argument("--base", type=Path, help="base model folder; none: the packaged all-MiniLM-L6-v2")
    mean.add_argument("--name", default="lam-base-v1", help="the model's name in the file")
    return parser


if __name__ == "__main__":
    main()
