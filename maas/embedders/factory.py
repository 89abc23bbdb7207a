"""From settings to a ready embedder: the backend that was asked for, or the first that loads."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Protocol, cast

import structlog

from maas.embedders.batching import BatchingEmbedder, ContextualBatchingEmbedder
from maas.embedders.protocol import ContextualEmbedder, Embedder
from maas.errors import EmbedderUnavailableError

if TYPE_CHECKING:
    from maas.settings import Settings

# Backend → the module that builds it. Fastest first: the order in which "auto" tries those that load a model here.
LOCAL = {
    "lam": "maas.embedders.lam",
    "deltanet": "maas.embedders.deltanet",
    "sentence-transformers": "maas.embedders.sentence_transformers",
}
BACKENDS = {**LOCAL, "remote": "maas.embedders.remote"}

log = structlog.get_logger(__name__)


class _Backend(Protocol):
    def build(self, settings: Settings) -> Embedder: ...


def build_embedder(settings: Settings) -> BatchingEmbedder:
    """The chosen backend, wrapped so that concurrent callers share its batches. Close it when done.

    Raises:
        EmbedderUnavailableError: the chosen backend cannot be loaded, or with ``auto`` none can; says why for each.
    """
    chosen = settings.embedder.backend
    inner = _first_that_loads(settings) if chosen == "auto" else build_backend(chosen, settings)
    wrap = ContextualBatchingEmbedder if isinstance(inner, ContextualEmbedder) else BatchingEmbedder
    limits = settings.embedder
    lanes = getattr(inner, "lanes", 1)
    return wrap(inner, batch_tokens=limits.batch_tokens, queue_texts=limits.queue_texts, lanes=lanes)


def build_backend(backend: str, settings: Settings) -> Embedder:
    """The bare embedder of one of :data:`BACKENDS`; only its own libraries are imported."""
    module = cast("_Backend", importlib.import_module(BACKENDS[backend]))
    embedder = module.build(settings)
    log.info("embedder loaded", backend=backend, model=embedder.name, fingerprint=embedder.fingerprint)
    return embedder


def _first_that_loads(settings: Settings) -> Embedder:
    reasons: list[str] = []
    for backend in LOCAL:
        try:
            return build_backend(backend, settings)
        except EmbedderUnavailableError as error:
            log.info("embedder passed over", backend=backend, reason=error.detail)
            reasons.append(f"{backend}: {error.detail}")
    raise EmbedderUnavailableError("no embedder can be loaded. " + " · ".join(reasons))
