"""LAMEncoder, with the calls of SentenceTransformer."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from .bundle import BundleError, check_file, read_config
from .in_context import InContext
from .lanes import Lanes
from .passages import LongEncoding, encode_long
from .step import Step
from .stream import Stream
from .text import PIECE_CHARACTERS, WordPieces, valid_text
from .vectors import Floats, rows, unit

NO_LIMIT = sys.maxsize


class LAMEncoder:
    """The encoder. One object serves any number of threads.

    Args:
        path: the bundle's folder; None is the folder this code lies in.
        precision: "int8", "fp32", or None for the bundle's default.
        device: only "cpu"; there for callers that name one.
        threads: threads of one pass, or passes at once; None: onnxruntime's choice, and a pass a core.
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
        _only_cpu(device)
        self.path = Path(__file__).parents[1] if path is None else Path(path)
        self.config = read_config(self.path)
        self.precision = precision or str(self.config["default_precision"])
        graphs: dict[str, str] = self.config["graphs"]
        if self.precision not in graphs:
            raise ValueError(f"precision is {self.precision!r}; this bundle has {sorted(graphs)}")
        tokenizer, graph = (
            check_file(self.path, name, self.config["files"], verify)
            for name in ("tokenizer.json", graphs[self.precision])
        )
        self.name = str(self.config["name"])
        self.dim = int(self.config["dim"])
        self.fingerprint = str(self.config["fingerprint"])
        self.segment_length = int(self.config["segment_length"])
        self.max_seq_length = NO_LIMIT
        """Tokens of a text that are read, [CLS] and [SEP] included; as delivered, all of them."""
        self.prompts: dict[str, str] = {}
        self.default_prompt_name: str | None = None
        self.similarity_fn_name = "cosine"
        self.device = "cpu"
        self._words = WordPieces(tokenizer)
        self.tokenizer = self._words.fast
        self._step = Step(graph, self.config, self._words.pad_id, threads)
        self._lanes = Lanes(self._step, threads)
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
        device: str | None = None,
    ) -> Any:
        """Vectors of texts of any length, as ``SentenceTransformer.encode`` returns them.

        One text → (D,), a list of n → (n, D), an empty list → (0, D); float32, unit length unless
        ``normalize_embeddings`` is False. ``convert_to_tensor``, or ``convert_to_numpy=False``, gives torch tensors and
        needs torch. ``prompt``, or the text ``prompt_name`` has in ``prompts``, is put before each sentence.

        Raises:
            TypeError: an item is no string.
            ValueError: batch_size < 1, a text with a lone surrogate, an unknown prompt_name, or a device other
                than "cpu".
        """
        _only_cpu(device)
        single = isinstance(sentences, str)
        texts = [sentences] if isinstance(sentences, str) else list(sentences)
        for index, text in enumerate(texts):
            valid_text(text, f"sentences[{index}]")
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; expected at least 1")
        if prefix := self._prompt(prompt_name, prompt):
            texts = [prefix + text for text in texts]
        vectors = self._means(texts, batch_size, bool(show_progress_bar))
        if normalize_embeddings:
            vectors = unit(vectors)
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
        scores: Floats = unit(rows(first)) @ unit(rows(second)).T
        return scores

    def similarity_pairwise(self, first: Any, second: Any) -> Floats:
        """Cosine of the i-th vector with the i-th: (n,)."""
        scores: Floats = (unit(rows(first)) * unit(rows(second))).sum(axis=1)
        return scores

    def get_sentence_embedding_dimension(self) -> int:
        return self.dim

    def get_embedding_dimension(self) -> int:
        return self.dim

    def tokenize(self, texts: Sequence[str]) -> dict[str, NDArray[Any]]:
        """``input_ids`` and ``attention_mask``, (n, T) each, padded on the right."""
        return dict(zip(("input_ids", "attention_mask"), self._step.padded(self._ids(list(texts))), strict=True))

    def count_tokens(self, texts: Sequence[str]) -> int:
        """Tokens that ``encode`` reads of all ``texts`` together, [CLS] and [SEP] included."""
        return sum(len(self._ids([text])[0]) for text in texts)

    # Long and growing texts, and texts made of units

    def stream(self) -> Stream:
        """A text to be read piece by piece; see :class:`Stream`."""
        return Stream(self._step, self._words, self.dim, self.segment_length, self.fingerprint)

    def encode_long(self, text: str, passage_tokens: int = 128) -> LongEncoding:
        """One pass over a text: its vector, and one for each passage of ``passage_tokens`` tokens (1 to 512).

        A passage's vector has read all that came before it, and what comes after it within its segment of 512 tokens;
        passages do not cross segments. Memory does not grow with the text, the passages apart.

        Raises:
            TypeError, ValueError: no string, or passage_tokens out of range.
        """
        return encode_long(self.stream(), self._words, text, passage_tokens, self.segment_length)

    def encode_in_context(self, units: Sequence[str], window: int | None = 224) -> Floats:
        """Unit vectors (n, D) of turns or passages that follow each other, each after reading those around it.

        Args:
            units: in their order in the text; an empty one has the vector of an empty text.
            window: units are packed whole, in order, into passes of so many tokens (3 to 512, [CLS] and [SEP] among
                them); a longer unit has a pass of its own. None reads all of them in one stream: a unit has read
                everything before it, and what comes after it within its segment of 512 tokens.

        Raises:
            TypeError, ValueError: no list of strings, or a window out of range.
        """
        reader = InContext(self._lanes, self._words, self.stream, self.dim, self.segment_length)
        vectors = reader.vectors(units, window)
        empty = np.flatnonzero(~vectors.any(axis=1))
        if len(empty):
            vectors[empty] = self.encode("")
        return vectors

    # Inside

    def _means(self, texts: list[str], batch_size: int, progress: bool) -> Floats:
        """Mean token vector of each text, (n, D), in input order. Longest first, in batches of similar length."""
        out = np.zeros((len(texts), self.dim), dtype=np.float32)
        whole = [i for i, text in enumerate(texts) if len(text) <= PIECE_CHARACTERS]
        ids = dict(zip(whole, self._ids([texts[i] for i in whole]), strict=True))

        def read(step: Step, chosen: list[int]) -> list[int]:
            out[chosen] = self._batch_means(step, [ids[i] for i in chosen])
            return chosen

        def stream(index: int) -> list[int]:
            out[index] = self._streamed_mean(texts[index])
            return [index]

        streamed = [i for i in range(len(texts)) if i not in ids]
        done = 0
        for read_now in chain(self._lanes.each(read, list(self._batches(ids, batch_size))), map(stream, streamed)):
            done += len(read_now)
            if progress:
                sys.stderr.write(f"\rTexts: {done}/{len(texts)}" + "\n" * (done == len(texts)))
        return out

    def _batches(self, ids: dict[int, list[int]], batch_size: int) -> Iterator[list[int]]:
        """Keys of ``ids`` by falling length, so many that a pass stays small; texts of many segments are alone."""
        order = sorted(ids, key=lambda i: -len(ids[i]))
        size = self._lanes.size(sum(map(len, ids.values())))
        start = 0
        while start < len(order):
            stop = start + min(batch_size, max(1, size // len(ids[order[start]])))
            yield order[start:stop]
            start = stop

    def _streamed_mean(self, text: str) -> Floats:
        """Mean of a text too long to be tokenised at once."""
        if self.max_seq_length < NO_LIMIT:
            cut: Floats = self._batch_means(self._step, self._ids([text]))[0]
            return cut
        stream = self.stream()
        stream.append(text)
        return stream.mean

    def _batch_means(self, step: Step, batch: list[list[int]]) -> Floats:
        """Mean of token vectors of each text (longest first), (B, D), its segments read in order."""
        length = self.segment_length
        lengths = np.array([len(ids) for ids in batch], dtype=np.float32)[:, None]
        if lengths[0] <= length:
            return step.sums(batch) / lengths
        total = np.zeros((len(batch), self.dim), dtype=np.float32)
        past: list[Floats] | None = None
        for start in range(0, len(batch[0]), length):
            segment = [ids[start : start + length] for ids in batch if len(ids) > start]
            live = len(segment)
            found, past = step.sums_and_memories(segment, past and [state[:live] for state in past])
            total[:live] += found
        means: Floats = total / lengths
        return means

    def _ids(self, texts: list[str]) -> list[list[int]]:
        """[CLS] ids [SEP] of each text, cut at ``max_seq_length``."""
        return [self._words.wrapped(ids[: max(0, self.max_seq_length - 2)]) for ids in self._words.ids(texts)]

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


def _only_cpu(device: str | None) -> None:
    if device not in (None, "cpu"):
        raise ValueError(f"device is {device!r}; this encoder runs on 'cpu'")
