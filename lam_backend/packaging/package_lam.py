"""Build the bundle: ``python -m lam_backend.packaging.package_lam [--checkpoint F] [--out dist]``."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import onnx
import onnxruntime

from lam_backend.model import DeltaNet6Layer
from lam_backend.packaging import notices
from lam_backend.packaging.archive import sha256, write_archive
from lam_backend.packaging.calibration import activation_ranges
from lam_backend.packaging.export_onnx import export
from lam_backend.packaging.lam_runtime import LAMEncoder
from lam_backend.packaging.lam_runtime.bundle import CONFIG
from lam_backend.packaging.linear import Float32, Int8

NAME = "lam-base-v1"
HERE = Path(__file__).parent
GRAPHS = {"fp32": "model_fp32.onnx", "int8": "model_int8.onnx"}
DEFAULT_PRECISION = "int8"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")
PROBE_AT_LEAST = 0.97
PARITY_TURNS = 500
PROBE = "The cat sat on the mat, and then it ran home over the hills."


def build(model: DeltaNet6Layer, out: Path, measured: dict[str, Any] | None = None) -> Path:
    """Write ``out/lam-base-v1`` and ``out/lam-base-v1-dist.tar.gz``; returns the folder. See :func:`build_folder`."""
    folder = build_folder(model, out, measured)
    write_archive(folder, out / f"{NAME}-dist.tar.gz")
    return folder


def build_folder(model: DeltaNet6Layer, out: Path, measured: dict[str, Any] | None = None) -> Path:
    """Write ``out/lam-base-v1`` alone.

    Args:
        model: a trained model of a form that has a graph.
        out: created if missing; a bundle already there is replaced.
        measured: figures to record in lam_config.json.

    Raises:
        OSError: ``out`` cannot be written.
        ValueError: a form of the model that has no graph, or one whose 8-bit graph is of no use.
    """
    folder = out / NAME
    partial = out / f".{NAME}.partial"
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    except OSError as error:
        raise OSError(f"{out} cannot be written ({error}); name another folder with --out") from error
    ranges = activation_ranges(model)
    for precision, name in GRAPHS.items():
        onnx.save(
            export(model, Float32 if precision == "fp32" else lambda graph: Int8(graph, ranges)), str(partial / name)
        )
    _copy_tokenizer(model, partial)
    shutil.copyfile(HERE / "lam_wrapper.py", partial / "lam_wrapper.py")
    shutil.copytree(HERE / "lam_runtime", partial / "lam_runtime", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(HERE / "sentence_transformers_module.py", partial / "lam_module.py")
    for name, text in notices.texts(model.fingerprint).items():
        (partial / name).write_text(text, encoding="utf-8")
    _write_configs(model, partial, measured or {})
    shutil.rmtree(folder, ignore_errors=True)
    partial.replace(folder)
    return folder


def _copy_tokenizer(model: DeltaNet6Layer, folder: Path) -> None:
    """The base's own files; those it lacks follow from tokenizer.json."""
    for name in TOKENIZER_FILES:
        if (model.base_path / name).is_file():
            shutil.copyfile(model.base_path / name, folder / name)
    if not (folder / "vocab.txt").is_file():
        vocabulary = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
        words = sorted(vocabulary, key=lambda word: int(vocabulary[word]))
        (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    specials = {f"{name.lower()}_token": f"[{name}]" for name in ("UNK", "SEP", "PAD", "CLS", "MASK")}
    if not (folder / "special_tokens_map.json").is_file():
        _write_json(folder / "special_tokens_map.json", specials)
    if not (folder / "tokenizer_config.json").is_file():
        _write_json(folder / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer", **specials})


def _write_configs(model: DeltaNet6Layer, folder: Path, measured: dict[str, Any]) -> None:
    config = model.config
    _write_json(folder / "config.json", {
        "model_type": "lam", "architectures": ["LAMEncoder"], "hidden_size": config.d_model,
        "num_hidden_layers": config.num_layers, "num_attention_heads": config.num_heads,
        "vocab_size": model.vocabulary, "segment_length": config.segment_length,
    })  # fmt: skip
    _write_json(folder / "modules.json", [{"idx": 0, "name": "0", "path": "", "type": "lam_module.LAMModule"}])
    _write_json(folder / "config_sentence_transformers.json", {"similarity_fn_name": "cosine", "prompts": {}})
    described: dict[str, Any] = {
        "name": NAME, "dim": model.dim, "layers": config.num_layers, "heads": config.num_heads,
        "head_dim": config.head_dim, "memory_rows": config.directions,
        "segment_length": config.segment_length, "pooling": "mean",
        "fingerprint": model.fingerprint, "default_precision": DEFAULT_PRECISION,
        "graphs": GRAPHS,
        "onnxruntime": f">={_minor(onnxruntime.__version__)}", "measured": measured,
        "files": _digests(folder),
    }  # fmt: skip
    _write_json(folder / CONFIG, described)
    # A vector the loader can hold any machine's own against. Rounded, since CPUs differ in the last digits.
    vector = LAMEncoder(folder, precision="fp32").encode(PROBE)
    agreement = float(LAMEncoder(folder, precision="int8").encode(PROBE) @ vector)
    if not agreement > PROBE_AT_LEAST:
        raise ValueError(
            f"8-bit products move a known sentence to a cosine of {agreement:.3f}, expected above {PROBE_AT_LEAST}; "
            "package a trained checkpoint"
        )
    described["probe"] = {"text": PROBE, "vector": [round(float(x), 4) for x in vector], "at_least": PROBE_AT_LEAST}
    _write_json(folder / CONFIG, described)


def _digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below ``folder``, by its path there."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256(path) for path in files}


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def measure(encode: Callable[[Sequence[str]], Any], data: Path) -> dict[str, float]:
    """Pearson correlation on STS-B dev and test, rounded to what platforms agree on."""
    from lam_backend.evaluation.sts import correlations, cosines, read_pairs

    found: dict[str, float] = {}
    for split in ("dev", "test"):
        pairs = read_pairs(data / "eval" / "stsb" / f"en_{split}.tsv")
        pearson, spearman = correlations(cosines(encode, pairs), pairs.score)
        found |= {f"stsb_{split}_pearson": round(pearson, 4), f"stsb_{split}_spearman": round(spearman, 4)}
    return found


def agreement(
    encode: Callable[[Sequence[str]], Any], exact: Callable[[Sequence[str]], Any], data: Path
) -> dict[str, float]:
    """Cosine of two encoders' vectors on turns of LoCoMo: mean, least, and the percentage below 0.995."""
    from lam_backend.evaluation.datasets import read_locomo

    turns = [turn for conversation in read_locomo(data) for turn in conversation.turns]
    chosen = turns[:: max(1, len(turns) // PARITY_TURNS)]
    cosines = (encode(chosen) * exact(chosen)).sum(axis=1)
    found = {"mean": cosines.mean(), "min": cosines.min(), "percent_below_.995": 100 * (cosines < 0.995).mean()}
    return {f"turns_cosine_{name}": round(float(value), 4) for name, value in found.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Build, and print what was built."""
    parser = argparse.ArgumentParser(prog="python -m lam_backend.packaging.package_lam", description=__doc__)
    parser.add_argument("--checkpoint", type=Path, help="a checkpoint file or folder; default: the released weights")
    parser.add_argument("--base", type=Path, help="folder of the BERT base; default: the packaged MiniLM")
    parser.add_argument("--out", type=Path, default=Path("dist"), help="default: dist")
    parser.add_argument(
        "--data", type=Path, help="data folder: measure STS-B, and both graphs against torch, and record it"
    )
    chosen = parser.parse_args(arguments)
    try:
        model = DeltaNet6Layer(chosen.base, chosen.checkpoint)
        measured: dict[str, Any] = {}
        if chosen.data is not None:
            measured["torch"] = measure(model.encode, chosen.data)
        folder = build(model, chosen.out, measured)
        if chosen.data is not None:
            for precision in GRAPHS:
                encode = LAMEncoder(folder, precision).encode
                measured[precision] = measure(encode, chosen.data) | agreement(encode, model.encode, chosen.data)
            folder = build(model, chosen.out, measured)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    archive = chosen.out / f"{NAME}-dist.tar.gz"
    for path in (*sorted(path for path in folder.rglob("*") if path.is_file()), archive):
        sys.stdout.write(f"{path.stat().st_size / 1e6:8.2f} MB  {path}\n")
    sys.stdout.write(f"fingerprint {model.fingerprint}\n{archive} {sha256(archive)}\n")
    if measured:
        sys.stdout.write(json.dumps(measured, indent=2, sort_keys=True) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
