"""LAMEncoder: sentence vectors from a lam-base-v1 bundle, on numpy, tokenizers and onnxruntime alone.

    from lam_wrapper import LAMEncoder

    encoder = LAMEncoder("models/lam-base-v1")
    vectors = encoder.encode(["The cat sat on the mat.", "A cat was sitting there."])  # (2, 384), unit length
    encoder.similarity(vectors, vectors)

Texts of any length are read whole, in memory that does not grow with them. ``stream()`` reads a text that is still
being written; ``encode_long()`` gives a vector for each passage after what came before it. All of it is one file, so
that it can be copied beside any code.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

Floats = NDArray[np.float32]
State = dict[str, NDArray[Any]]
Span = tuple[int, int]

PIECE_CHARACTERS = 20_000
"""Longer texts are tokenised piece by piece, so that a book needs no more memory than a page."""
PASS_TOKENS = 2048
"""Padded tokens in one pass at most: more is no faster, and takes memory."""
CONFIG = "lam_config.json"
NO_LIMIT = sys.maxsize
_STATE_KEYS = frozenset({"memory", "total", "count", "open_ids"})


class BundleError(RuntimeError):
    """The folder is no intact bundle, or this onnxruntime cannot run it."""


@dataclass(frozen=True)
class Passage:
    """Characters ``start`` to ``end`` of the text, and their unit vector (D,)."""

    start: int
    end: int
    vector: Floats


@dataclass(frozen=True)
class LongEncoding:
    """A text's unit vector (D,), its passages in order, and how many tokens were read."""

    vector: Floats
    passages: list[Passage]
    tokens: int


class LAMEncoder:
    """The encoder. One object serves any number of threads.

    Args:
        path: the bundle's folder; None is the folder this file lies in.
        precision: "int8", "fp32", or None for the bundle's default.
        device: only "cpu"; there for callers that name one.
        threads: threads of one pass; None leaves it to onnxruntime.
        verify: compare each file's SHA-256 with the bundle's record (about 0.1 s).

    Raises:
        BundleError: a file is missing or altered, or onnxruntime is too old or lacks an operator.
        ValueError: an unknown precision or device.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        precision: str | None = None,
        device: str | None = None,
        *,
        threads: int | None = None,
        verify: bool = True,
    ) -> None:
        if device not in (None, "cpu"):
            raise ValueError(f"device is {device!r}; this encoder runs on 'cpu'")
        self.path = Path(__file__).parent if path is None else Path(path)
        self.config = _read_config(self.path)
        self.precision = precision or str(self.config["default_precision"])
        graphs: dict[str, str] = self.config["graphs"]
        if self.precision not in graphs:
            raise ValueError(f"precision is {self.precision!r}; this bundle has {sorted(graphs)}")
        for name in ("tokenizer.json", graphs[self.precision]):
            _check_file(self.path, name, self.config["files"], verify)
        self.name = str(self.config["name"])
        self.dim = int(self.config["dim"])
        self.fingerprint = str(self.config["fingerprint"])
        self.layers, self.heads, self.head_dim = (int(self.config[key]) for key in ("layers", "heads", "head_dim"))
        self.segment_length = int(self.config["segment_length"])
        self.max_seq_length = NO_LIMIT
        """Tokens of a text that are read, [CLS] and [SEP] included; as delivered, all of them."""
        self.prompts: dict[str, str] = {}
        self.default_prompt_name: str | None = None
        self.similarity_fn_name = "cosine"
        self.device = "cpu"
        self.tokenizer = Tokenizer.from_file(str(self.path / "tokenizer.json"))
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self.cls_id, self.sep_id, self.pad_id = (_special(self.tokenizer, name) for name in ("CLS", "SEP", "PAD"))
        self._session = _open_session(self.path / graphs[self.precision], threads)
        self._states = [f"r{layer}" for layer in range(self.layers)]
        self._probe()

    # What sentence-transformers' users call

    def encode(
        self,
        sentences: str | Sequence[str],
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        normalize_embeddings: bool = True,
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
    ) -> Any:
        """Vectors of texts of any length, as ``SentenceTransformer.encode`` returns them.

        One text → (D,), a list of n → (n, D), an empty list → (0, D); float32, unit length unless
        ``normalize_embeddings`` is False. ``convert_to_tensor``, or ``convert_to_numpy=False``, gives torch tensors and
        needs torch. ``prompt``, or the text ``prompt_name`` has in ``prompts``, is put before each sentence.

        Raises:
            TypeError: an item is no string.
            ValueError: batch_size < 1, or an unknown prompt_name.
        """
        single = isinstance(sentences, str)
        texts = [sentences] if isinstance(sentences, str) else list(sentences)
        for index, text in enumerate(texts):
            if not isinstance(text, str):
                raise TypeError(f"sentences[{index}] is a {type(text).__name__}; expected str")
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; expected at least 1")
        if prefix := self._prompt(prompt_name, prompt):
            texts = [prefix + text for text in texts]
        vectors = self._means(texts, batch_size, bool(show_progress_bar))
        if normalize_embeddings:
            vectors = _unit(vectors)
        found = vectors[0] if single else vectors
        if convert_to_numpy and not convert_to_tensor:
            return found
        import torch

        tensor = torch.from_numpy(found)
        return tensor if convert_to_tensor or single else list(tensor)

    def encode_query(self, sentences: str | Sequence[str], **options: Any) -> Any:
        """:meth:`encode` with the prompt "query", if there is one."""
        return self.encode(sentences, **self._named_prompt(("query",), options))

    def encode_document(self, sentences: str | Sequence[str], **options: Any) -> Any:
        """:meth:`encode` with the prompt "document", "passage" or "corpus", if there is one."""
        return self.encode(sentences, **self._named_prompt(("document", "passage", "corpus"), options))

    def similarity(self, first: Any, second: Any) -> Floats:
        """Cosine of each of n vectors with each of m: (n, m)."""
        scores: Floats = _unit(_rows(first)) @ _unit(_rows(second)).T
        return scores

    def similarity_pairwise(self, first: Any, second: Any) -> Floats:
        """Cosine of the i-th vector with the i-th: (n,)."""
        scores: Floats = (_unit(_rows(first)) * _unit(_rows(second))).sum(axis=1)
        return scores

    def get_sentence_embedding_dimension(self) -> int:
        return self.dim

    def get_embedding_dimension(self) -> int:
        return self.dim

    def tokenize(self, texts: Sequence[str]) -> dict[str, NDArray[Any]]:
        """``input_ids`` and ``attention_mask``, (n, T) each, padded on the right."""
        return dict(zip(("input_ids", "attention_mask"), self._padded(self._ids(list(texts))), strict=True))

    # Long and growing texts

    def stream(self) -> Stream:
        """A text to be read piece by piece; see :class:`Stream`."""
        return Stream(self)

    def encode_long(self, text: str, passage_tokens: int = 128) -> LongEncoding:
        """One pass over a text: its vector, and one for each passage of ``passage_tokens`` tokens (1 to 512).

        A passage's vector has read all that came before it, and what comes after it within its segment of 512 tokens;
        passages do not cross segments. Memory does not grow with the text, the passages apart.

        Raises:
            TypeError, ValueError: no string, or passage_tokens out of range.
        """
        if not isinstance(text, str):
            raise TypeError(f"encode_long takes str, found {type(text).__name__}")
        length = self.segment_length
        if not 1 <= passage_tokens <= length:
            raise ValueError(f"passage_tokens is {passage_tokens}; expected 1 to {length}")
        stream = Stream(self)
        waiting: list[Span | None] = [None]  # spans of the tokens that are not in a closed segment; [CLS] has none
        passages: list[Passage] = []
        for offset, piece in _pieces(text):
            encoded = self._encoded(piece)
            waiting.extend((start + offset, end + offset) for start, end in encoded.offsets)
            for vectors in stream.append_ids(encoded.ids):
                passages.extend(_passages(vectors, waiting[:length], passage_tokens))
                del waiting[:length]
        tail = stream.open_vectors()
        passages.extend(_passages(tail, [*waiting, None], passage_tokens))
        return LongEncoding(_unit(stream.mean_with(tail)), passages, stream.tokens + 1)

    # Inside

    def read_segment(self, ids: list[int], memory: Floats | None) -> tuple[Floats, Floats]:
        """Token vectors (T, D) of one segment, and the memory after it (L, H, K, V)."""
        past = None if memory is None else [state[None] for state in memory]
        tokens, *states = self._run(["tokens", *self._states], *self._padded([ids]), past)
        return tokens[0], np.concatenate(states)

    def _run(
        self, wanted: list[str], ids: NDArray[np.int64], mask: Floats, past: Sequence[Floats] | None
    ) -> list[Floats]:
        shape = (len(ids), self.heads, self.head_dim, self.head_dim)
        past = [np.zeros(shape, dtype=np.float32)] * self.layers if past is None else past
        feed = {"ids": ids, "mask": mask, **{f"s{layer}": state for layer, state in enumerate(past)}}
        return cast("list[Floats]", self._session.run(wanted, feed))

    def _means(self, texts: list[str], batch_size: int, progress: bool) -> Floats:
        """Mean token vector of each text, (n, D), in input order. Longest first, in batches of similar length."""
        out = np.zeros((len(texts), self.dim), dtype=np.float32)
        whole = [i for i, text in enumerate(texts) if len(text) <= PIECE_CHARACTERS]
        ids = dict(zip(whole, self._ids([texts[i] for i in whole]), strict=True))
        order = sorted(whole, key=lambda i: -len(ids[i]))
        done = 0
        while done < len(texts):
            if done < len(order):
                width = min(len(ids[order[done]]), self.segment_length)
                chosen = order[done : done + min(batch_size, max(1, PASS_TOKENS // width))]
                out[chosen] = self._batch_means([ids[i] for i in chosen])
            else:
                chosen = [i for i in range(len(texts)) if i not in ids][done - len(order) :][:1]
                out[chosen[0]] = self._streamed_mean(texts[chosen[0]])
            done += len(chosen)
            if progress:
                sys.stderr.write(f"\rTexts: {done}/{len(texts)}" + "\n" * (done == len(texts)))
        return out

    def _streamed_mean(self, text: str) -> Floats:
        """Mean of a text too long to be tokenised at once."""
        if self.max_seq_length < NO_LIMIT:
            cut: Floats = self._batch_means(self._ids([text]))[0]
            return cut
        stream = Stream(self)
        stream.append(text)
        mean: Floats = stream.mean
        return mean

    def _batch_means(self, batch: list[list[int]]) -> Floats:
        """Mean of token vectors of each text (longest first), (B, D), its segments read in order."""
        total = np.zeros((len(batch), self.dim), dtype=np.float32)
        past: list[Floats] | None = None
        for start in range(0, len(batch[0]), self.segment_length):
            segment = [ids[start : start + self.segment_length] for ids in batch if len(ids) > start]
            live = len(segment)
            more = len(batch[0]) > start + self.segment_length
            wanted = ["sum", *self._states] if more else ["sum"]
            found, *after = self._run(wanted, *self._padded(segment), past and [state[:live] for state in past])
            total[:live] += found
            past = after
        means: Floats = total / np.array([len(ids) for ids in batch], dtype=np.float32)[:, None]
        return means

    def _padded(self, batch: Sequence[Sequence[int]]) -> tuple[NDArray[np.int64], Floats]:
        width = max((len(ids) for ids in batch), default=0)
        tokens = np.full((len(batch), width), self.pad_id, dtype=np.int64)
        mask = np.zeros((len(batch), width), dtype=np.float32)
        for row, ids in enumerate(batch):
            tokens[row, : len(ids)] = ids
            mask[row, : len(ids)] = 1
        return tokens, mask

    def _ids(self, texts: list[str]) -> list[list[int]]:
        """[CLS] ids [SEP] of each text, cut at ``max_seq_length``."""
        if all(len(text) <= PIECE_CHARACTERS for text in texts):
            found = [encoded.ids for encoded in self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
        else:
            found = [[i for _, piece in _pieces(text) for i in self._encoded(piece).ids] for text in texts]
        return [[self.cls_id, *ids[: max(0, self.max_seq_length - 2)], self.sep_id] for ids in found]

    def _encoded(self, piece: str) -> Any:
        return self.tokenizer.encode(piece, add_special_tokens=False)

    def _prompt(self, name: str | None, prompt: str | None) -> str:
        name = name or self.default_prompt_name
        if prompt is not None:
            return prompt
        if name is None:
            return ""
        if name not in self.prompts:
            raise ValueError(f"prompt_name is {name!r}; prompts has {sorted(self.prompts)}")
        return self.prompts[name]

    def _named_prompt(self, names: tuple[str, ...], options: dict[str, Any]) -> dict[str, Any]:
        if options.get("prompt") is None and options.get("prompt_name") is None:
            held = [name for name in names if name in self.prompts]
            return {**options, "prompt_name": held[0]} if held else options
        return options

    def _probe(self) -> None:
        """Read one known sentence: a release of onnxruntime that computes otherwise must not go unnoticed."""
        probe = self.config.get("probe")
        if not probe:
            return
        expected = np.array(probe["vector"], dtype=np.float32)
        agreement = float(self.encode(probe["text"])[: len(expected)] @ expected)
        if not agreement > probe["at_least"]:
            raise BundleError(
                f"onnxruntime {onnxruntime.__version__} computes other vectors than this bundle was made with "
                f"({agreement:.4f}); install onnxruntime {self.config['onnxruntime']}"
            )


class Stream:
    """A text that is still being read. One stream belongs to one thread.

    Its state has one size however much was read. The open segment is kept as ids and read again when a vector is asked
    for. A piece is tokenised by itself, so pieces should end where words end.
    """

    def __init__(self, encoder: LAMEncoder) -> None:
        self._encoder = encoder
        self._memory = np.zeros((encoder.layers, encoder.heads, encoder.head_dim, encoder.head_dim), dtype=np.float32)
        self._total = np.zeros(encoder.dim, dtype=np.float64)
        self._count = 0
        self._open: list[int] = [encoder.cls_id]

    @property
    def tokens(self) -> int:
        """Tokens read so far, [CLS] included."""
        return self._count + len(self._open)

    def append(self, text: str) -> None:
        """Read on."""
        if not isinstance(text, str):
            raise TypeError(f"append takes str, found {type(text).__name__}")
        for _, piece in _pieces(text):
            self.append_ids(self._encoder.tokenizer.encode(piece, add_special_tokens=False).ids)

    def append_ids(self, ids: list[int]) -> list[Floats]:
        """Read token ids on; returns the token vectors of each segment that closed."""
        self._open.extend(ids)
        length = self._encoder.segment_length
        closed = []
        while len(self._open) >= length:
            segment, self._open = self._open[:length], self._open[length:]
            vectors, self._memory = self._encoder.read_segment(segment, self._memory)
            self._total = self._total + vectors.sum(axis=0, dtype=np.float64)
            self._count += length
            closed.append(vectors)
        return closed

    @property
    def vector(self) -> Floats:
        """Unit vector (D,) of all that was read."""
        return _unit(self.mean)

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
        return self._encoder.read_segment([*self._open, self._encoder.sep_id], self._memory)[0]

    def state_dict(self) -> State:
        """All that is needed to go on: arrays that any format can hold, about 0.3 MB."""
        return {
            "memory": self._memory,
            "total": self._total,
            "count": np.array([self._count]),
            "open_ids": np.array(self._open, dtype=np.int64),
        }

    def load_state_dict(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take up a saved state.

        Raises:
            ValueError: keys, shapes or values that no stream of this encoder can have.
        """
        if set(state) != _STATE_KEYS:
            raise ValueError(f"a stream state has the keys {sorted(_STATE_KEYS)}, found {sorted(state)}")
        memory, total = np.asarray(state["memory"]), np.asarray(state["total"])
        for name, found, expected in (("memory", memory, self._memory), ("total", total, self._total)):
            if found.shape != expected.shape:
                raise ValueError(f"{name} has the shape {found.shape}, this encoder expects {expected.shape}")
            if found.dtype.kind != "f" or not np.isfinite(found).all():
                raise ValueError(f"{name} holds values that are no finite numbers; the state is corrupt")
        count, ids = np.asarray(state["count"]).ravel(), np.asarray(state["open_ids"]).ravel()
        length = self._encoder.segment_length
        if count.shape != (1,) or count[0] < 0 or count[0] % length:
            raise ValueError(f"count is {count.tolist()}; expected one multiple of {length}")
        vocabulary = self._encoder.tokenizer.get_vocab_size()
        sound = ids.dtype.kind in "iu" and (ids >= 0).all() and (ids < vocabulary).all()
        if len(ids) >= length or (len(ids) and not sound):
            raise ValueError("open_ids are not the ids of one open segment; the state is corrupt or of another model")
        self._memory = memory.astype(np.float32)
        self._total = total.astype(np.float64)
        self._count = int(count[0])
        self._open = [int(i) for i in ids]


def _special(tokenizer: Tokenizer, name: str) -> int:
    found = tokenizer.token_to_id(f"[{name}]")
    if found is None:
        raise BundleError(f"tokenizer.json has no [{name}] token; unpack the bundle again")
    return int(found)


def _pieces(text: str) -> Iterator[tuple[int, str]]:
    """A text cut at white space (inside a word only if a word is longer than a piece), with each piece's offset."""
    start = 0
    while start < len(text):
        end = min(len(text), start + PIECE_CHARACTERS)
        if end < len(text):
            space = max(text.rfind(" ", start + 1, end), text.rfind("\n", start + 1, end))
            end = space if space > start else end
        yield start, text[start:end]
        start = end


def _passages(vectors: Floats, spans: list[Span | None], passage_tokens: int) -> Iterator[Passage]:
    """Mean of the token vectors of each run of ``passage_tokens`` tokens; special tokens belong to none."""
    for first in range(0, len(spans), passage_tokens):
        window = range(first, min(first + passage_tokens, len(spans)))
        real = [(i, span) for i in window if (span := spans[i]) is not None]
        if real:
            yield Passage(real[0][1][0], real[-1][1][1], _unit(vectors[[i for i, _ in real]].mean(axis=0)))


def _unit(vectors: Floats) -> Floats:
    return cast("Floats", vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12))


def _rows(vectors: Any) -> Floats:
    return np.atleast_2d(np.asarray(vectors, dtype=np.float32))


def _read_config(folder: Path) -> dict[str, Any]:
    file = folder / CONFIG
    if not folder.is_dir() or not file.is_file():
        raise BundleError(
            f"{folder} is no LAM bundle: {CONFIG} is missing; unpack the bundle there, or name its folder"
        )
    try:
        config: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        needed = config["onnxruntime"].lstrip(">=")
    except (ValueError, KeyError) as error:
        raise BundleError(f"{file} is damaged ({error}); unpack the bundle again") from None
    if _version(onnxruntime.__version__) < _version(needed):
        raise BundleError(f"onnxruntime is {onnxruntime.__version__}; this bundle needs {needed} or newer: upgrade it")
    return config


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2] if part.isdigit())


def _check_file(folder: Path, name: str, recorded: Mapping[str, str], verify: bool) -> None:
    file = folder / name
    if not file.is_file():
        raise BundleError(f"{file} is missing; unpack the bundle again")
    if verify:
        with file.open("rb") as opened:
            found = hashlib.file_digest(opened, "sha256").hexdigest()
        if found != recorded.get(name):
            raise BundleError(
                f"{file} was altered or cut: its SHA-256 is {found[:16]}…, the bundle records "
                f"{recorded.get(name, 'none')[:16]}…; unpack the bundle again"
            )


def _open_session(graph: Path, threads: int | None) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own classes differ from release to release
        raise BundleError(
            f"onnxruntime {onnxruntime.__version__} on this platform cannot run {graph.name}: {error}. Install an "
            "onnxruntime for the CPU that has its contributed operators (com.microsoft), 1.32 or newer"
        ) from error
