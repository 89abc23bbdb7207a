"""The dashboard and its page speak of the metrics that exist."""

from __future__ import annotations

import json
import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from maas.api.metrics import Metrics
from maas.embedders.batching import BatchingEmbedder
from tests.fakes import FakeEmbedder

DOCS = Path(__file__).parents[2] / "docs"
NAME = re.compile(r"\b(?:maas|process)_[a-z_]+\b")
PIECES = re.compile(r"_(bucket|count|sum)$")


def exposed() -> set[str]:
    """The names as a scrape gives them, histograms by their own."""
    metrics = Metrics()
    embedder = BatchingEmbedder(FakeEmbedder())
    try:
        metrics.watch_encoder(embedder)
        metrics.requests.labels("GET", "/", "200").inc()
        metrics.latency.labels("GET", "/").observe(1)
        metrics.stored.labels("ADD").inc()
        text = metrics.render().decode()
    finally:
        embedder.close()
    families = text_string_to_metric_families(text)
    samples = [s.name for family in families for s in family.samples if not s.name.endswith("_created")]
    return set(samples) | {PIECES.sub("", name) for name in samples}


def test_every_expression_asks_for_metrics_that_exist() -> None:
    dashboard = json.loads((DOCS / "grafana" / "maas.json").read_text(encoding="utf-8"))
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked = {name for expression in expressions for name in NAME.findall(expression)}
    assert asked <= exposed()
    ours = {PIECES.sub("", name) for name in exposed() if name.startswith("maas_")}
    assert {PIECES.sub("", name) for name in asked if name.startswith("maas_")} == ours


def test_panels_do_not_overlap_and_are_numbered() -> None:
    panels = json.loads((DOCS / "grafana" / "maas.json").read_text(encoding="utf-8"))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for box in (panel["gridPos"] for panel in panels)
        for x in range(box["x"], box["x"] + box["w"])
        for y in range(box["y"], box["y"] + box["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


def test_the_page_lists_them() -> None:
    page = (DOCS / "observing.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"maas_[a-z_]+", "\n".join(line for line in page.splitlines() if line.startswith("| `"))))
    assert listed == {PIECES.sub("", name) for name in exposed() if name.startswith("maas_")}
