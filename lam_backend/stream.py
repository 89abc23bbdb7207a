"""Reading that can be paused: append text, ask for the vector, save the state, go on elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lam_backend.tokenizer import pieces, valid_text

if TYPE_CHECKING:
    from lam_backend.model import DeltaNet6Layer

State = dict[str, NDArray[np.float32] | NDArray[np.int64]]
_KEYS = frozenset({"model", "memory", "total", "count", "open_ids"})


class Stream:
    """A text that is still being read. One stream belongs to one thread.

    Closed segments survive only as each layer's forward memory and the running sum of token vectors: the state's size
    does not depend on how much was read. The open segment is kept as ids and read again when asked for, because its
    backward direction changes with every token. ``[SEP]`` is added when a vector is asked for and never stored.
    """

    def __init__(self, model: DeltaNet6Layer, fingerprint: str) -> None:
        config = model.config
        self._model = model
        self._fingerprint = fingerprint
        shape = (config.num_layers, config.num_heads, config.head_dim, config.head_dim)
        self._memory = torch.zeros(shape)
        self._total = torch.zeros(config.d_model, dtype=torch.float64)
        self._count = 0
        self._open = [model.tokenizer.cls_id]

    @property
    def tokens(self) -> int:
        """Tokens read so far, [CLS] included."""
        return self._count + len(self._open)

    def append(self, text: str) -> None:
        """Read on. A piece is tokenised by itself, so pieces should end where words end."""
        valid_text(text, "text")
        for _, piece in pieces(text):
            self.append_ids(self._model.tokenizer.ids([piece])[0])

    def append_ids(self, ids: list[int]) -> list[Tensor]:
        """Read token ids on; returns the token vectors (512, D) of each segment that closed."""
        self._open.extend(ids)
        length = self._model.config.segment_length
        closed = []
        while len(self._open) >= length:
            segment, self._open = self._open[:length], self._open[length:]
            hidden, self._memory = self._read(segment)
            self._total = self._total + hidden.double().sum(0)
            self._count += length
            closed.append(hidden)
        return closed

    @property
    def vector(self) -> NDArray[np.float32]:
        """Unit vector (D,) of all that was read, equal to encoding the pieces in one shot."""
        mean = self.mean
        vector: NDArray[np.float32] = (mean / mean.norm().clamp(min=1e-12)).numpy()
        return vector

    @property
    def mean(self) -> Tensor:
        """The same before it is scaled to unit length: the mean of all token vectors, (D,)."""
        tail = self.open_vectors()
        return ((self._total + tail.double().sum(0)) / (self._count + len(tail))).float()

    def open_vectors(self) -> Tensor:
        """Token vectors (T, D) of the open segment with its [SEP]; the state is left as it is."""
        hidden, _ = self._read([*self._open, self._model.tokenizer.sep_id])
        return hidden

    def _read(self, ids: list[int]) -> tuple[Tensor, Tensor]:
        with torch.inference_mode():
            tokens, mask = self._model.padded([ids])
            states = [memory[None] for memory in self._memory] if self._count else None
            vectors, carried = self._model.read(tokens, mask, states)
        return vectors[0].float(), torch.cat(carried).clone()

    def state_dict(self) -> State:
        """All that is needed to go on: arrays that any format can hold, about 0.3 MB."""
        return {
            "model": np.frombuffer(self._fingerprint.encode(), np.uint8).copy(),
            "memory": self._memory.numpy().copy(),
            "total": self._total.numpy().copy(),
            "count": np.array([self._count]),
            "open_ids": np.array(self._open, dtype=np.int64),
        }

    def load_state_dict(self, state: Mapping[str, NDArray[np.float32] | NDArray[np.int64]]) -> None:
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
            if found.shape != tuple(expected.shape):
                raise ValueError(f"{name} has the shape {found.shape}, this model expects {tuple(expected.shape)}")
            if found.dtype.kind != "f" or not np.isfinite(found).all():
                raise ValueError(f"{name} holds values that are no finite numbers; the state is corrupt")
        count: NDArray[Any] = np.asarray(state["count"]).ravel()
        ids: NDArray[Any] = np.asarray(state["open_ids"]).ravel()
        length = self._model.config.segment_length
        if count.shape != (1,) or count.dtype.kind not in "iu" or count[0] < 0 or count[0] % length:
            raise ValueError(f"count is {count.tolist()}; expected one multiple of {length}")
        sound = not len(ids) or (ids.dtype.kind in "iu" and (ids >= 0).all() and (ids < self._model.vocabulary).all())
        begun = count[0] > 0 or (len(ids) and ids[0] == self._model.tokenizer.cls_id)
        if len(ids) >= length or not sound or not begun:
            raise ValueError("open_ids are not the ids of one open segment; the state is corrupt or of another model")
        self._memory = torch.tensor(memory, dtype=torch.float32)
        self._total = torch.tensor(total, dtype=torch.float64)
        self._count = int(count[0])
        self._open = [int(i) for i in ids]
