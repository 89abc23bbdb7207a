"""DeltaNet6Layer: the LAM sentence encoder in PyTorch; trains and infers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from lam_backend.attention import LAMAttention
from lam_backend.base import LAYER_NORM_EPS, Embeddings, FeedForward, Weights, load_base
from lam_backend.checkpoint import RELEASED, Checkpoint, load_checkpoint
from lam_backend.config import LAMConfig
from lam_backend.encoding import mean_vectors
from lam_backend.long_text import LongEncoding, encode_long
from lam_backend.stream import Stream
from lam_backend.tokenizer import Tokenizer, valid_text


class LAMLayer(nn.Module):
    """h = LN(x + attention(x)); x' = frozen feed-forward of h."""

    def __init__(self, config: LAMConfig, weights: Weights, index: int) -> None:
        super().__init__()
        self.attention = LAMAttention(config)
        self.norm = nn.LayerNorm(config.d_model, eps=LAYER_NORM_EPS)
        self.feed_forward = FeedForward(weights, index)
        prefix = f"encoder.layer.{index}.attention."
        copies: dict[nn.Linear | nn.LayerNorm, str] = {
            self.attention.query: prefix + "self.query",
            self.attention.key: prefix + "self.key",
            self.attention.value: prefix + "self.value",
            self.attention.output: prefix + "output.dense",
            self.norm: prefix + "output.LayerNorm",
        }
        with torch.no_grad():
            for module, name in copies.items():
                module.weight.copy_(weights[name + ".weight"])
                module.bias.copy_(weights[name + ".bias"])

    def forward(self, x: Tensor, mask: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        y, state = self.attention(x, mask, state)
        return self.feed_forward(self.norm(x + y)), state


class DeltaNet6Layer(nn.Module):
    """Linear-time sentence encoder: frozen BERT embeddings and feed-forwards around gated-delta attention.

    Args:
        teacher_model_path: folder of the BERT base (model.safetensors, tokenizer.json, config.json);
            None takes the packaged all-MiniLM-L6-v2.
        trained_checkpoint_path: a checkpoint's .safetensors file or its folder; None takes the released weights.
        config: fields of :class:`LAMConfig`; they must agree with the checkpoint's own.

    Raises:
        FileNotFoundError: base or checkpoint is missing.
        ValueError: a damaged or foreign file; names the first tensor that does not fit.
    """

    def __init__(
        self,
        teacher_model_path: str | Path | None = None,
        trained_checkpoint_path: str | Path | None = None,
        config: Mapping[str, Any] | LAMConfig | None = None,
    ) -> None:
        checkpoint = load_checkpoint(RELEASED if trained_checkpoint_path is None else Path(trained_checkpoint_path))
        self._build(teacher_model_path, checkpoint.agreeing_config(config))
        if teacher_model_path is not None:
            checkpoint.check_base(self.base_path)
        self._adopt(checkpoint)
        self.eval()

    @classmethod
    def untrained(
        cls, teacher_model_path: str | Path | None = None, config: Mapping[str, Any] | LAMConfig | None = None
    ) -> Self:
        """A model that holds the base's weights and has learnt nothing yet: where distillation starts."""
        model = cls.__new__(cls)
        chosen = config if isinstance(config, LAMConfig) else LAMConfig.from_dict(config or {})
        model._build(teacher_model_path, chosen)  # noqa: SLF001 — its own class
        return model

    def _build(self, base: str | Path | None, config: LAMConfig) -> None:
        nn.Module.__init__(self)
        self.base_path, weights = load_base(base)
        width = weights["embeddings.word_embeddings.weight"].shape[1]
        if width != config.d_model:
            raise ValueError(f"the base {self.base_path} is {width} wide, the config says d_model {config.d_model}")
        self.config = config
        self.name = "lam"
        self._fingerprint: str | None = None
        self.tokenizer = Tokenizer(self.base_path)
        self.embeddings = Embeddings(weights)
        self.layers = nn.ModuleList(LAMLayer(config, weights, index) for index in range(config.num_layers))

    def _adopt(self, checkpoint: Checkpoint) -> None:
        checkpoint.check_tensors(self.trained_state())
        self.load_state_dict(checkpoint.tensors, strict=False)
        self.name = checkpoint.name
        self._fingerprint = checkpoint.fingerprint

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self.config.d_model

    @property
    def fingerprint(self) -> str:
        """Identity of the vector space: name, dim, pooling and the hash of the trained weights.

        Raises:
            ValueError: an untrained model has none.
        """
        if self._fingerprint is None:
            raise ValueError("an untrained model has no fingerprint; save a checkpoint and load it")
        return self._fingerprint

    @property
    def lam_layers(self) -> list[LAMLayer]:
        """The layers, first to last."""
        return [layer for layer in self.layers if isinstance(layer, LAMLayer)]

    def trained_state(self) -> Weights:
        """The tensors a checkpoint holds: everything that is not the frozen base."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def forward(
        self, ids: Tensor, mask: Tensor, states: list[Tensor] | None = None
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Encode one segment.

        Args:
            ids: (B, T) token ids, T ≤ segment_length.
            mask: (B, T) bool, padding on the right.
            states: a forward memory for each layer, (B, H, K, V); None at the start of a text.

        Returns:
            Hidden states: the embeddings and each layer's output, num_layers + 1 of (B, T, D);
            and each layer's forward memory after the segment.
        """
        steps = list(self._steps(ids, mask, states))
        return [x for x, _ in steps], [state for _, state in steps if state is not None]

    def read(self, ids: Tensor, mask: Tensor, states: list[Tensor] | None = None) -> tuple[Tensor, list[Tensor]]:
        """What :meth:`forward` ends with: the last layer's token vectors (B, T, D) and the memories after the segment.

        The hidden states between are let go, so that a pass needs the memory of one layer.
        """
        carried = []
        x = None
        for x, state in self._steps(ids, mask, states):  # noqa: B007 — the last one counts
            if state is not None:
                carried.append(state)
        assert x is not None
        return x, carried

    def _steps(self, ids: Tensor, mask: Tensor, states: list[Tensor] | None) -> Iterator[tuple[Tensor, Tensor | None]]:
        x: Tensor = self.embeddings(ids)
        yield x, None
        for index, layer in enumerate(self.layers):
            x, state = layer(x, mask, None if states is None else states[index])
            yield x, state

    @property
    def vocabulary(self) -> int:
        """Number of token ids."""
        return int(self.embeddings.words.num_embeddings)

    def embed(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Unit vectors (B, D) of texts of one segment, and the hidden states; differentiable."""
        hidden, _ = self(ids, mask)
        return F.normalize(pooled(hidden[-1], mask), dim=-1), hidden

    def encode(
        self,
        sentences: str | Sequence[str],
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        normalize_embeddings: bool = True,
    ) -> Any:
        """Vectors of texts of any length, as ``SentenceTransformer.encode`` returns them.

        Args:
            sentences: one text → (D,), or a list of n → (n, D); an empty list → (0, D).
            batch_size: texts in one forward pass; a pass never holds texts of very different lengths.
            show_progress_bar: True draws one on stderr.
            convert_to_numpy: a float32 array (default); False with ``convert_to_tensor=False`` gives a list of tensors.
            convert_to_tensor: one tensor; wins over ``convert_to_numpy``.
            normalize_embeddings: unit length (default), else the plain mean.

        Raises:
            TypeError: an item is no string.
            ValueError: batch_size < 1, or a text with a lone surrogate.
        """
        single = isinstance(sentences, str)
        texts = [sentences] if isinstance(sentences, str) else list(sentences)
        for index, text in enumerate(texts):
            valid_text(text, f"sentences[{index}]")
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; expected at least 1")
        with torch.inference_mode():
            vectors = mean_vectors(self, texts, batch_size, bool(show_progress_bar))
            if normalize_embeddings:
                vectors = F.normalize(vectors, dim=-1)
        found = vectors[0] if single else vectors
        if convert_to_tensor:
            return found
        if convert_to_numpy:
            return found.numpy().astype(np.float32, copy=False)
        return found if single else list(found)

    def count_tokens(self, texts: Sequence[str]) -> int:
        """Tokens that ``encode`` reads of all ``texts`` together, [CLS] and [SEP] included."""
        return sum(len(self.tokenizer.wrapped(self.tokenizer.ids([text])[0])) for text in texts)

    def stream(self) -> Stream:
        """A text to be read piece by piece; see :class:`lam_backend.stream.Stream`."""
        return Stream(self, self._fingerprint or "")

    def encode_long(self, text: str, passage_tokens: int = 128) -> LongEncoding:
        """One pass over a text of any length, in memory that does not grow with it (the passages apart).

        Args:
            text: any length.
            passage_tokens: tokens a passage, 1 to segment_length; passages do not cross segments.

        Returns:
            The text's vector, and each passage's vector with its character offsets. A passage's vector has read all
            that came before it, and what comes after it within its segment.

        Raises:
            TypeError, ValueError: no string, or passage_tokens out of range.
        """
        return encode_long(self, text, passage_tokens)

    def encode_in_context(self, units: Sequence[str], window: int | None = 224) -> NDArray[np.float32]:
        """Unit vectors (n, D) of units that follow each other, each read with those around it.

        See :func:`lam_backend.in_context.encode_in_context`.
        """
        from lam_backend.in_context import encode_in_context  # it knows this class

        return encode_in_context(self, units, window)

    def padded(self, batch: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Ids (B, T) padded on the right, and the mask (B, T) of real tokens."""
        width = max(len(ids) for ids in batch)
        tokens = torch.full((len(batch), width), self.tokenizer.pad_id)
        mask = torch.zeros(len(batch), width, dtype=torch.bool)
        for row, ids in enumerate(batch):
            tokens[row, : len(ids)] = torch.as_tensor(ids)
            mask[row, : len(ids)] = True
        return tokens, mask


def pooled(hidden: Tensor, mask: Tensor) -> Tensor:
    """Mean over real tokens: (B, T, D), (B, T) → (B, D)."""
    keep = mask[..., None].to(hidden.dtype)
    return (hidden * keep).sum(1) / keep.sum(1).clamp(min=1.0)
