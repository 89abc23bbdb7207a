"""Clients that write under Idempotency-Keys, and the comparison of what they were told with what is there."""

from __future__ import annotations

from dataclasses import dataclass, field

from maas.client import MaasClient

_WORDS = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heron", "inlet", "jetty", "knoll", "lagoon")
_RECALLED = 200


@dataclass
class Write:
    """One request and what became of it."""

    idempotency_key: str
    user_id: str
    texts: list[str]
    ids: list[str] | None = None

    def send(self, client: MaasClient) -> None:
        """Send it, for the first time or again, and keep the ids that are answered."""
        items = [{"user_id": self.user_id, "text": text, "dedupe": "off"} for text in self.texts]
        if len(items) == 1:
            answer = client.store(**items[0], idempotency_key=self.idempotency_key)  # type: ignore[arg-type]
        else:
            answer = client.store_batch(items, idempotency_key=self.idempotency_key)
        self.ids = [result.id for result in answer.results]


@dataclass
class Writer:
    """One client's writes: what was acknowledged, and the one that may or may not have happened."""

    number: int
    done: list[Write] = field(default_factory=list)
    open: Write | None = None
    retried: int = 0
    unexpected: list[str] = field(default_factory=list)

    def step(self, client: MaasClient) -> Write:
        """The write left open, else a new one, until it is acknowledged. Raises MaasError and leaves it open."""
        write = self.open or self._next()
        self.retried += write is self.open
        self.open = write
        write.send(client)
        self.done.append(write)
        self.open = None
        return write

    def _next(self) -> Write:
        turn = len(self.done)
        count = 5 if turn % 4 == 3 else 1
        mark = f"{self.number}n{turn}"
        texts = [f"{_WORDS[(turn + i) % len(_WORDS)]} note w{mark}i{i}" for i in range(count)]
        return Write(f"w{mark}", f"user-{self.number % 3}", texts)


def compare(url: str, key: str, writes: list[Write]) -> dict[str, int]:
    """Everything acknowledged against everything there; the last of it is recalled in every mode, too."""
    expected = {i: (w.user_id, t) for w in writes for i, t in zip(w.ids or (), w.texts, strict=True)}
    there: dict[str, tuple[str, str]] = {}
    listed = unrecalled = 0
    with MaasClient(url, api_key=key) as client:
        for user_id in sorted({write.user_id for write in writes}):
            cursor = None
            while True:
                page = client.list(user_id=user_id, limit=1000, cursor=cursor)
                there |= {memory.id: (user_id, memory.text) for memory in page.results}
                listed += len(page.results)
                cursor = page.next_cursor
                if cursor is None:
                    break
        sampled = list(expected.items())[-_RECALLED:]
        for memory_id, (user_id, text) in sampled:
            for mode in ("hybrid", "dense", "lexical"):
                hits = client.recall(text, user_id=user_id, mode=mode, top_k=5).results
                unrecalled += memory_id not in {hit.id for hit in hits}
    return {
        "acknowledged": len(expected),
        "lost": sum(there.get(memory_id) != kept for memory_id, kept in expected.items()),
        "twice": listed - len({text for _, text in there.values()}),
        "not_asked_for": len(there.keys() - expected.keys()),
        "recalls": 3 * len(sampled),
        "not_recalled": unrecalled,
    }
