"""Vectors of unit length."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def unit(vectors: Floats) -> Floats:
    """(…, D) scaled to length 1; a zero vector stays zero."""
    lengths = np.sqrt(np.einsum("...d,...d->...", vectors, vectors))[..., None]
    return cast("Floats", vectors / np.maximum(lengths, 1e-12))


def rows(vectors: Any) -> Floats:
    """Arrays, lists or tensors of one or n vectors as (n, D)."""
    return np.atleast_2d(np.asarray(vectors, dtype=np.float32))
