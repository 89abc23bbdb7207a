"""What Prometheus is told. One registry an app, so that two apps in a process do not share counters."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from maas.embedders.batching import BatchingEmbedder
from maas.embedders.protocol import Embedder
from maas.records import StoreResponse

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """Counters of one app; safe to use from several threads."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "maas_http_requests", "Requests answered.", ["method", "route", "status"], registry=self.registry
        )
        self.latency = Histogram(
            "maas_http_request_duration_seconds",
            "Time from the first byte to the last.",
            ["method", "route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.in_flight = Gauge("maas_http_requests_in_flight", "Requests being worked on.", registry=self.registry)
        self.stored = Counter(
            "maas_memories_stored", "Items stored, by what became of them.", ["event"], registry=self.registry
        )
        self.recalled = Counter("maas_memories_recalled", "Memories handed out by recall.", registry=self.registry)
        self.texts = Histogram(
            "maas_encode_request_texts",
            "Texts in one call of /encode or /v1/embeddings.",
            buckets=_TEXTS,
            registry=self.registry,
        )

    def watch_encoder(self, embedder: Embedder) -> None:
        """Tell how the encoder's batches fill, for an embedder that batches."""
        if isinstance(embedder, BatchingEmbedder):
            self.registry.register(_EncoderCollector(embedder))

    def count_stored(self, response: StoreResponse) -> None:
        for result in response.results:
            self.stored.labels(result.event).inc()

    def render(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)


class _EncoderCollector(Collector):
    """Reads the batcher's own counters at every scrape; texts / batches is the mean size of a batch."""

    def __init__(self, embedder: BatchingEmbedder) -> None:
        self._embedder = embedder

    def collect(self) -> Iterator[Metric]:
        embedder = self._embedder
        yield CounterMetricFamily("maas_encode_batches", "Batches the model ran.", value=embedder.batches)
        yield CounterMetricFamily("maas_encode_texts", "Texts the model encoded.", value=embedder.texts)
        yield GaugeMetricFamily("maas_encode_queue_texts", "Texts waiting for the model.", value=embedder.queued_texts)
