"""How far each product's input reaches, channel by channel: what fixed 8-bit scales are made from."""

from __future__ import annotations

import numpy as np
import onnxruntime
from onnx import helper

from lam_backend.model import DeltaNet6Layer
from lam_backend.packaging.export_onnx import export
from lam_backend.packaging.graph import GraphBuilder
from lam_backend.packaging.linear import Array, Float32

LENGTHS = (4, 8, 16, 32, 64)
TEXTS_A_LENGTH = 16
Ranges = dict[str, tuple[Array, Array]]


class _Recording(Float32):
    """Plain products that remember where their inputs are."""

    def __init__(self, graph: GraphBuilder) -> None:
        super().__init__(graph)
        self.sites: dict[str, str] = {}

    def prepare(self, x: str, site: str) -> object:
        self.sites[site] = x
        return x


def activation_ranges(model: DeltaNet6Layer, seed: int = 0) -> Ranges:
    """Site → lowest and highest value of each channel, (width,) each.

    Read from texts of random tokens between [CLS] and [SEP]. The channels that reach far do so at [CLS] whatever the
    text is, so that sentences give the same scales (cosine to float32 .9977 by either), and no data is needed.
    """
    linears: list[_Recording] = []

    def recording(graph: GraphBuilder) -> _Recording:
        linears.append(_Recording(graph))
        return linears[-1]

    graph = export(model, recording)
    sites = linears[0].sites
    known = {output.name for output in graph.graph.output}
    for name in dict.fromkeys(sites.values()):
        if name not in known:
            graph.graph.output.append(helper.make_tensor_value_info(name, 1, None))
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    config = model.config
    found: Ranges = {}
    random = np.random.default_rng(seed)
    for length in LENGTHS:
        ids = random.integers(0, model.vocabulary, (TEXTS_A_LENGTH, min(length, config.segment_length)))
        ids[:, 0], ids[:, -1] = model.tokenizer.cls_id, model.tokenizer.sep_id
        memories = len(ids) * config.directions
        empty = np.zeros((memories, config.num_heads, config.head_dim, config.head_dim), dtype=np.float32)
        feed = {"ids": ids, "mask": np.ones(ids.shape, dtype=np.float32)}
        feed |= {f"s{layer}": empty for layer in range(config.num_layers)}
        for site, values in zip(sites, session.run(list(sites.values()), feed), strict=True):
            rows = values.reshape(-1, values.shape[-1])
            low, high = rows.min(axis=0), rows.max(axis=0)
            if site in found:
                low, high = np.minimum(low, found[site][0]), np.maximum(high, found[site][1])
            found[site] = low, high
    return found
