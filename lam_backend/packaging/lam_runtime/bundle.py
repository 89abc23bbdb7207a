"""The bundle's folder: its record, and whether its files are the ones it records."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxruntime

CONFIG = "lam_config.json"
_NEEDED = frozenset({"name", "dim", "layers", "heads", "head_dim", "segment_length", "fingerprint", "files", "graphs"})


class BundleError(RuntimeError):
    """The folder is no intact bundle, or this onnxruntime cannot run it."""


def read_config(folder: Path) -> dict[str, Any]:
    """lam_config.json of a bundle that the installed onnxruntime is new enough for.

    Raises:
        BundleError: no bundle, a damaged record, or an old onnxruntime.
    """
    file = folder / CONFIG
    if not file.is_file():
        raise BundleError(
            f"{folder} is no LAM bundle: {CONFIG} is missing; unpack the bundle there, or name its folder"
        )
    try:
        config: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        oldest = config["onnxruntime"].lstrip(">=")
        if lacking := sorted(_NEEDED - set(config)):
            raise KeyError(lacking[0])
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise BundleError(f"{file} is damaged ({error!r}); unpack the bundle again") from None
    if _version(onnxruntime.__version__) < _version(oldest):
        raise BundleError(f"onnxruntime is {onnxruntime.__version__}; this bundle needs {oldest} or newer: upgrade it")
    return config


def check_file(folder: Path, name: str, recorded: Mapping[str, str], verify: bool) -> Path:
    """Path of a file that is there and, if ``verify``, has the recorded SHA-256."""
    file = folder / name
    if not file.is_file():
        raise BundleError(f"{file} is missing; unpack the bundle again")
    if verify:
        with file.open("rb") as opened:
            found = hashlib.file_digest(opened, "sha256").hexdigest()
        if found != recorded.get(name):
            raise BundleError(
                f"{file} was altered or cut: its SHA-256 is {found[:16]}…, the bundle records "
                f"{recorded.get(name, 'none')[:16]}…; unpack the bundle again"
            )
    return file


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2] if part.isdigit())
