"""Reading that can be paused: append text, ask for the vector, save the state, go on elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from .step import Step
from .text import WordPieces, pieces, valid_text
from .vectors import Floats, unit

State = dict[str, NDArray[Any]]
_KEYS = frozenset({"model", "memory", "total", "count", "open_ids"})


class Stream:
    """A text that is still being read. One stream belongs to one thread.

    Its state has one size however much was read. The open segment is kept as ids and read again when a vector is asked
    for. A piece is tokenised by itself, so pieces should end where words end.
    """

    def __init__(self, step: Step, words: WordPieces, dim: int, segment_length: int, fingerprint: str) -> None:
        self._step = step
        self._words = words
        self._length = segment_length
        self._fingerprint = fingerprint
        self._memory = np.zeros(step.memory_shape, dtype=np.float32)
        self._total = np.zeros(dim, dtype=np.float64)
        self._count = 0
        self._open: list[int] = [words.cls_id]

    @property
    def tokens(self) -> int:
        """Tokens read so far, [CLS] included."""
        return self._count + len(self._open)

    def append(self, text: str) -> None:
        """Read on."""
        valid_text(text, "text")
        for _, piece in pieces(text):
            self.append_ids(self._words.ids([piece])[0])

    def append_ids(self, ids: list[int]) -> list[Floats]:
        """Read token ids on; returns the token vectors of each segment that closed."""
        self._open.extend(ids)
        closed = []
        while len(self._open) >= self._length:
            segment, self._open = self._open[: self._length], self._open[self._length :]
            vectors, self._memory = self._step.tokens_and_memory(segment, self._memory)
            self._total = self._total + vectors.sum(axis=0, dtype=np.float64)
            self._count += self._length
            closed.append(vectors)
        return closed

    @property
    def vector(self) -> Floats:
        """Unit vector (D,) of all that was read."""
        return unit(self.mean)

    @property
    def mean(self) -> Floats:
        """The same before it is scaled to unit length."""
        return self.mean_with(self.open_vectors())

    def mean_with(self, tail: Floats) -> Floats:
        """Mean of the closed segments' token vectors and of ``tail`` (T, D)."""
        total = self._total + tail.sum(axis=0, dtype=np.float64)
        return cast("Floats", (total / (self._count + len(tail))).astype(np.float32))

    def open_vectors(self) -> Floats:
        """Token vectors (T, D) of the open segment with its [SEP]; the state is left as it is."""
        return self._step.tokens_and_memory([*self._open, self._words.sep_id], self._memory)[0]

    def state_dict(self) -> State:
        """All that is needed to go on: arrays that any format can hold, well below a megabyte."""
        return {
            "model": np.frombuffer(self._fingerprint.encode(), np.uint8).copy(),
            "memory": self._memory.copy(),
            "total": self._total.copy(),
            "count": np.array([self._count]),
            "open_ids": np.array(self._open, dtype=np.int64),
        }

    def load_state_dict(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take up a saved state.

        Raises:
            ValueError: of another model, or with keys, shapes or values that no stream of this one can have.
        """
        if set(state) != _KEYS:
            raise ValueError(f"a stream state has the keys {sorted(_KEYS)}, found {sorted(state)}")
        name = np.asarray(state["model"], np.uint8).tobytes().decode(errors="replace")
        if name != self._fingerprint:
            raise ValueError(f"the state is of the model {name!r}, this is {self._fingerprint!r}; read the text anew")
        memory, total = np.asarray(state["memory"]), np.asarray(state["total"])
        for name, found, expected in (("memory", memory, self._memory), ("total", total, self._total)):
            if found.shape != expected.shape:
                raise ValueError(f"{name} has the shape {found.shape}, this encoder expects {expected.shape}")
            if found.dtype.kind != "f" or not np.isfinite(found).all():
                raise ValueError(f"{name} holds values that are no finite numbers; the state is corrupt")
        count, ids = np.asarray(state["count"]).ravel(), np.asarray(state["open_ids"]).ravel()
        if count.shape != (1,) or count.dtype.kind not in "iu" or count[0] < 0 or count[0] % self._length:
            raise ValueError(f"count is {count.tolist()}; expected one multiple of {self._length}")
        sound = not len(ids) or (ids.dtype.kind in "iu" and (ids >= 0).all() and (ids < self._words.size).all())
        begun = count[0] > 0 or (len(ids) and ids[0] == self._words.cls_id)
        if len(ids) >= self._length or not sound or not begun:
            raise ValueError("open_ids are not the ids of one open segment; the state is corrupt or of another model")
        self._memory = memory.astype(np.float32)
        self._total = total.astype(np.float64)
        self._count = int(count[0])
        self._open = [int(i) for i in ids]
