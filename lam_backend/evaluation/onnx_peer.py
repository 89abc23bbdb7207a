"""The base itself in onnxruntime, float32 and 8-bit: what LAM's bundle is measured beside.

Made as its users make it: torch's exporter, onnxruntime's optimiser for transformers, ``quantize_dynamic``.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from lam_backend.tokenizer import Tokenizer

GRAPHS = {"fp32": "base_fp32.onnx", "int8": "base_int8.onnx"}


def build_graphs(base: Path, folder: Path) -> dict[str, Path]:
    """Write the graphs of the BERT in ``base`` into ``folder``: precision → file.

    Raises:
        FileNotFoundError, OSError: no model there, or a folder that cannot be written.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.transformers.optimizer import optimize_model
    from transformers import BertModel
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()  # else it reports that the pooler, which is not loaded, is not loaded
    transformers_logging.disable_progress_bar()
    folder.mkdir(parents=True, exist_ok=True)
    files = {precision: folder / name for precision, name in GRAPHS.items()}
    described = json.loads((base / "config.json").read_text(encoding="utf-8"))
    bert = BertModel.from_pretrained(
        str(base), add_pooling_layer=False, attn_implementation="eager", local_files_only=True
    )

    class Tokens(torch.nn.Module):
        """(B, T) ids and mask → (B, T, D)."""

        def __init__(self) -> None:
            super().__init__()
            self.bert = bert.eval()

        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.bert(input_ids=ids, attention_mask=mask).last_hidden_state
            return found

    ids = torch.arange(8).reshape(2, 4)
    traced = folder / "traced.onnx"
    axes = {name: {0: "b", 1: "t"} for name in ("ids", "mask", "tokens")}
    level = logging.getLogger().level
    with warnings.catch_warnings():  # the exporter the optimiser knows is called the legacy one
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Tokens(),
            (ids, torch.ones_like(ids)),
            str(traced),
            input_names=["ids", "mask"],
            output_names=["tokens"],
            dynamic_axes=axes,
            opset_version=17,
            dynamo=False,
        )
        optimised = optimize_model(
            str(traced),
            model_type="bert",
            num_heads=described["num_attention_heads"],
            hidden_size=described["hidden_size"],
            opt_level=0,
        )
        optimised.save_model_to_file(str(files["fp32"]))
        logging.getLogger().setLevel(logging.ERROR)  # quantize_dynamic advises a preprocessing the optimiser has done
        try:
            quantize_dynamic(
                str(files["fp32"]),
                str(files["int8"]),
                weight_type=QuantType.QInt8,
                extra_options={"DefaultTensorType": 1},
            )
        finally:
            logging.getLogger().setLevel(level)
    traced.unlink()
    return files


class OnnxPeer:
    """A BERT's mean-pooled unit vectors by a graph of :func:`build_graphs`. Texts are cut at ``max_tokens``."""

    def __init__(self, graph: Path, base: Path, threads: int, max_tokens: int = 512) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        self._tokenizer = Tokenizer(base)
        self._max_tokens = max_tokens

    def encode(self, sentences: str | Sequence[str], batch_size: int = 32) -> NDArray[np.float32]:
        """(n, D), or (D,) for one text; longest first, in batches of similar length."""
        texts = [sentences] if isinstance(sentences, str) else list(sentences)
        ids = [self._tokenizer.wrapped(found[: self._max_tokens - 2]) for found in self._tokenizer.ids(texts)]
        order = sorted(range(len(ids)), key=lambda index: -len(ids[index]))
        vectors: list[Any] = [None] * len(ids)
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            for index, vector in zip(chosen, self._pooled([ids[index] for index in chosen]), strict=True):
                vectors[index] = vector
        found = np.stack(vectors)
        return found[0] if isinstance(sentences, str) else found

    def _pooled(self, batch: list[list[int]]) -> NDArray[np.float32]:
        shape = (len(batch), max(map(len, batch)))
        tokens, mask = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        for row, ids in enumerate(batch):
            tokens[row, : len(ids)], mask[row, : len(ids)] = ids, 1
        (hidden,) = self._session.run(None, {"ids": tokens, "mask": mask})
        sums = np.einsum("btd,bt->bd", hidden, mask.astype(np.float32))
        vectors: NDArray[np.float32] = sums / np.linalg.norm(sums, axis=1, keepdims=True)
        return vectors
