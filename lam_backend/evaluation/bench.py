"""What every part of an evaluation is given."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from lam_backend.evaluation.encoders import Encoder, Vectors, cached, lam_encoder, stored
from lam_backend.evaluation.peers import load_peers
from lam_backend.in_context import encode_in_context
from lam_backend.model import DeltaNet6Layer


@dataclass(frozen=True, slots=True)
class Bench:
    """The model under test, its peers, the data and the folders."""

    data: Path
    out: Path
    cache: Path
    model: DeltaNet6Layer
    checkpoint: Path | None = None
    """Where the model was loaded from; None is the released weights."""
    quick: bool = False
    seed: int = 0
    peers: list[Encoder] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    """A sentence for each peer that could not be measured."""

    @classmethod
    def of(
        cls,
        data: Path,
        out: Path,
        model: DeltaNet6Layer,
        *,
        checkpoint: Path | None = None,
        cache: Path | None = None,
        with_peers: bool = True,
        mpnet: Path | None = None,
        quick: bool = False,
        seed: int = 0,
    ) -> Bench:
        """Load the peers; their vectors are kept in ``cache`` (default: ``out``/vectors)."""
        folder = cache or out / "vectors"
        peers, absent = load_peers(mpnet) if with_peers else ([], ["The peers were not measured (--no-peers)."])
        return cls(data, out, folder, model, checkpoint, quick, seed, [cached(peer, folder) for peer in peers], absent)

    @property
    def lam(self) -> Encoder:
        return cached(lam_encoder(self.model), self.cache)

    @property
    def encoders(self) -> list[Encoder]:
        """LAM first, then its peers."""
        return [self.lam, *self.peers]

    def contextual(self, units: list[str], window: int | None) -> Vectors:
        """:func:`encode_in_context` of the model, kept in the cache."""
        identity = f"{self.model.fingerprint}:context:{window}"
        return stored(self.cache, identity, units, lambda: encode_in_context(self.model, units, window))
