"""A training run on disk: its arguments, log, and a state that a killed run continues from exactly."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lam_backend.checkpoint import save_checkpoint
from lam_backend.model import DeltaNet6Layer

MODEL_FILE = "model.safetensors"
STATE_FILE = "optimizer.safetensors"


class Run:
    """Folder of one run: ``run.json`` (arguments), ``log.jsonl``, ``model.safetensors``, ``optimizer.safetensors``.

    The step counter lives in the optimizer file and the model is stored inside it too, so that one rename makes a
    save whole: ``model.safetensors`` is a copy for those who only want the weights.
    """

    def __init__(self, folder: Path, arguments: dict[str, Any]) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        described = folder / "run.json"
        if described.is_file():
            try:
                before = json.loads(described.read_text(encoding="utf-8"))
            except ValueError as error:
                raise ValueError(
                    f"{described} is damaged ({error}); choose another --out, or remove {folder}"
                ) from None
            for key in sorted(before.keys() | arguments.keys()):
                if before.get(key) != arguments.get(key):
                    raise ValueError(
                        f"{folder} holds a run with {key}={before.get(key)!r}, asked for {arguments.get(key)!r}; "
                        "continue it with the same arguments, or choose another --out"
                    )
        else:
            _write_whole(described, json.dumps(arguments, indent=2) + "\n")

    def log(self, record: dict[str, Any]) -> None:
        """Append one record with the wall-clock time."""
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"time": round(time.time(), 1), **record}) + "\n")

    def records(self) -> list[dict[str, Any]]:
        file = self.folder / "log.jsonl"
        if not file.is_file():
            return []
        whole, _, _ = file.read_text(encoding="utf-8").rpartition("\n")  # a line that was being written has no end
        return [json.loads(line) for line in whole.splitlines() if line.strip()]

    def save(self, step: int, model: DeltaNet6Layer, optimizer: torch.optim.Optimizer) -> None:
        names = list(model.trained_state())
        tensors: dict[str, Tensor] = {"step": torch.tensor(step)}
        for name, parameter in model.trained_state().items():
            tensors[f"model/{name}"] = parameter.detach().contiguous()
        for index, state in optimizer.state_dict()["state"].items():
            for key, value in state.items():
                tensors[f"optimizer/{names[index]}/{key}"] = torch.as_tensor(value).contiguous()
        partial = self.folder / (STATE_FILE + ".partial")
        save_file(tensors, str(partial))
        partial.replace(self.folder / STATE_FILE)
        save_checkpoint(self.folder / MODEL_FILE, model.trained_state(), model.config, self.folder.name)

    def resume(self, model: DeltaNet6Layer, optimizer: torch.optim.Optimizer) -> int:
        """Restore the last save; returns its step, 0 when there is none. Drops log records after it.

        Raises:
            ValueError: the log does not reach the save.
        """
        file = self.folder / STATE_FILE
        if not file.is_file():
            (self.folder / "log.jsonl").unlink(missing_ok=True)
            return 0
        tensors = load_file(str(file))
        step = int(tensors["step"])
        parameters = model.trained_state()
        state: dict[int, dict[str, Tensor]] = {}
        with torch.no_grad():
            for index, (name, parameter) in enumerate(parameters.items()):
                parameter.copy_(tensors[f"model/{name}"])
                prefix = f"optimizer/{name}/"
                held = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
                if held:
                    state[index] = held
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
        kept = [record for record in self.records() if record["step"] <= step]
        if not kept or kept[-1]["step"] != step:
            raise ValueError(f"{self.folder / 'log.jsonl'} lacks step {step}, which was saved; choose another --out")
        _write_whole(self.folder / "log.jsonl", "".join(json.dumps(record) + "\n" for record in kept))
        save_checkpoint(self.folder / MODEL_FILE, parameters, model.config, self.folder.name)
        return step


def _write_whole(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
