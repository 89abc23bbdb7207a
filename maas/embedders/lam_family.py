"""What LAMEncoder and DeltaNet6Layer share: two faces of one model, one vector space for the same weights."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from maas.embedders.passages import PassageReader, SeparateReader, StreamReader
from maas.embedders.protocol import Vectors
from maas.errors import EmbedderUnavailableError, NotReadyError


class LamFamilyEmbedder:
    """Adapts an encoder of ``lam_backend``.

    Args:
        encoder: has ``name``, ``dim``, ``fingerprint``, ``encode(list of n texts) -> (n, dim)`` unit vectors, and
            ``encode_in_context(units, window) -> (n, dim)``, and ``count_tokens(texts) -> int``.
    """

    def __init__(self, encoder: Any) -> None:
        missing = [part for part in ("name", "dim", "fingerprint", "encode") if not hasattr(encoder, part)]
        if missing:
            raise EmbedderUnavailableError(
                f"{type(encoder).__name__} has no {', '.join(missing)}; install a lam_backend that matches this maas"
            )
        self._encoder: Any = encoder
        self._lock = threading.Lock()
        self._name = str(encoder.name)
        self._dim = int(encoder.dim)
        self._fingerprint = str(encoder.fingerprint)

    @property
    def name(self) -> str:
        return self._name

    @property
    def dim(self) -> int:
        return self._dim

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    def encode(self, texts: Sequence[str]) -> Vectors:
        if not texts:
            return np.zeros((0, self._dim), dtype=np.float32)
        with self._open() as encoder:
            vectors = encoder.encode(
                list(texts), show_progress_bar=False, convert_to_numpy=True, normalize_embeddings=True
            )
        return np.ascontiguousarray(vectors, dtype=np.float32)

    def encode_in_context(self, units: Sequence[str], window: int | None = 224) -> Vectors:
        """Vectors (n, dim) of turns that follow each other, each after reading those ``window`` tokens around it.

        ``None`` reads all of them in one stream. Raises ValueError if the window is out of the encoder's range.
        """
        with self._open() as encoder:
            vectors = encoder.encode_in_context(list(units), window)
        return np.ascontiguousarray(vectors, dtype=np.float32)

    def count_tokens(self, texts: Sequence[str]) -> int:
        """Tokens that ``encode`` reads of all ``texts`` together, the model's special ones included."""
        with self._open() as encoder:
            return int(encoder.count_tokens(list(texts)))

    def passage_reader(self, state: bytes | None = None) -> PassageReader:
        with self._open() as encoder:
            return StreamReader(encoder, state) if hasattr(encoder, "stream") else SeparateReader(self)

    @contextmanager
    def _open(self) -> Iterator[Any]:
        with self._lock:
            if self._encoder is None:
                raise NotReadyError(f"the embedder {self._name} is closed; open the brain again")
            yield self._encoder

    def close(self) -> None:
        with self._lock:
            encoder, self._encoder = self._encoder, None
        if encoder is not None and hasattr(encoder, "close"):
            encoder.close()


def lam_backend_class(name: str) -> Any:
    """A class of ``lam_backend``, imported now.

    Raises:
        EmbedderUnavailableError: the package lacks it, or something it needs is not installed.
    """
    try:
        return getattr(importlib.import_module("lam_backend"), name)
    except ModuleNotFoundError as error:
        raise EmbedderUnavailableError(
            f"lam_backend.{name} needs {error.name}, which is not installed; "
            'install it with: pip install -c constraints.txt "maas[torch]"'
        ) from error
    except (AttributeError, ImportError) as error:
        raise EmbedderUnavailableError(
            f"this installation has no lam_backend.{name}; install a release that ships it, "
            "or choose embedder.backend: sentence-transformers"
        ) from error
