"""The base in onnxruntime is the base."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from lam_backend.evaluation.onnx_peer import OnnxPeer, build_graphs
from lam_backend.tokenizer import Tokenizer
from lam_backend.training.teacher import Teacher
from tests.lam.test_model import words


def test_both_graphs_give_the_vectors_of_the_base(base: Path, tmp_path: Path) -> None:
    files = build_graphs(base, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in files.values()}
    texts = [words(n, n) for n in (3, 0, 12, 7)]
    tokenizer, teacher = Tokenizer(base), Teacher(base)
    for precision, least in (("fp32", 0.99999), ("int8", 0.98)):
        peer = OnnxPeer(files[precision], base, threads=1, max_tokens=32)
        found = peer.encode(texts, batch_size=2)
        for text, vector in zip(texts, found, strict=True):
            row = torch.tensor([tokenizer.wrapped(tokenizer.ids([text])[0])])
            with torch.inference_mode():
                expected = teacher.embed(row, torch.ones_like(row, dtype=torch.bool))[0][0]
            assert float(expected @ torch.from_numpy(vector)) > least
        # its 8-bit form takes its scales from the batch
        np.testing.assert_allclose(peer.encode(texts[0]), found[0], atol=1e-5 if precision == "fp32" else 0.03)
