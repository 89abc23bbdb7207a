"""What a memory costs: bytes on disk, and processor time to store and to recall one, as a conversation does it."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict
from sqlalchemy import create_engine, make_url

from maas.bench.corpus import generated_texts, questions
from maas.bench.embedded import OnProgress, refuse_populated
from maas.bench.measure import Usage

if TYPE_CHECKING:
    from maas.embedders.protocol import Embedder
    from maas.settings import Settings

TURNS_OF_A_SESSION = 20
_SIZE_OF_TABLES = """
SELECT relname, pg_total_relation_size(oid) FROM pg_class
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
"""


class CapacitySizes(BaseModel):
    """``first`` memories are stored before anything is counted, so that what every database has is left out."""

    model_config = ConfigDict(frozen=True)

    users: int = 40
    memories_per_user: int = 60
    first: int = 400
    recalls: int = 400

    @classmethod
    def quick(cls) -> CapacitySizes:
        """Just enough to see that it works; the figures mean nothing."""
        return cls(users=4, memories_per_user=10, first=10, recalls=8)


def bench_capacity(settings: Settings, embedder: Embedder, sizes: CapacitySizes, report: OnProgress) -> dict[str, Any]:
    """Store turn by turn, in sessions, and recall.

    Args:
        settings: of a store that holds no memories.

    Raises:
        ConfigError: the store holds somebody's memories.
    """
    from maas.brain import PersonalMemoryBrain

    count = sizes.users * sizes.memories_per_user
    with PersonalMemoryBrain(settings, embedder=embedder) as brain:
        refuse_populated(brain)
        texts = generated_texts()
        turns = _turns(sizes, texts)
        characters = 0
        for user_id, session_id, text in itertools.islice(turns, sizes.first):
            brain.store(text, user_id=user_id, session_id=session_id)
        before = _sizes(settings)
        with Usage() as storing:
            for number, (user_id, session_id, text) in enumerate(itertools.islice(turns, count - sizes.first), 1):
                brain.store(text, user_id=user_id, session_id=session_id)
                characters += len(text)
                report("store", number, count - sizes.first)
        after = _sizes(settings)
        asked = list(itertools.islice(itertools.cycle(questions(200)), sizes.recalls))
        with Usage() as recalling:
            for number, question in enumerate(asked, 1):
                brain.recall(question, user_id=_user(number % sizes.users))
                report("recall", number, sizes.recalls)
    stored = count - sizes.first
    parts = {name: round((size - before.get(name, 0)) / stored) for name, size in after.items()}
    return {
        "capacity": {
            "store": make_url(settings.database_url).get_backend_name(),
            "embedder": embedder.name,
            "memories": stored,
            "characters": round(characters / stored),
            "bytes": sum(parts.values()),
            "bytes_by_table": dict(sorted(((n, b) for n, b in parts.items() if b), key=lambda item: -item[1])),
            "store_cpu_ms": round(1e3 * storing.report["cpu_seconds"] / stored, 3),
            "recall_cpu_ms": round(1e3 * recalling.report["cpu_seconds"] / sizes.recalls, 3),
            "rss_mb": recalling.report["rss_mb"],
        }
    }


def _turns(sizes: CapacitySizes, texts: Iterator[str]) -> Iterator[tuple[str, str, str]]:
    """User, session and text; users speak by turns, so that the first of them stand for all."""
    for turn in range(sizes.memories_per_user):
        for number in range(sizes.users):
            yield _user(number), f"session-{turn // TURNS_OF_A_SESSION}", next(texts)


def _user(number: int) -> str:
    return f"capacity-{number:04}"


def _sizes(settings: Settings) -> dict[str, int]:
    """Bytes of each table with its indexes, on disk."""
    url = make_url(settings.database_url)
    if url.get_backend_name() == "postgresql":
        engine = create_engine(url.set(drivername="postgresql+psycopg"))
        try:
            with engine.connect() as connection:
                return dict(connection.exec_driver_sql(_SIZE_OF_TABLES).tuples().all())
        finally:
            engine.dispose()
    assert url.database is not None
    path = Path(url.database)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        try:
            rows = connection.execute(
                "SELECT coalesce(m.tbl_name, s.name), sum(s.pgsize) FROM dbstat s"
                " LEFT JOIN sqlite_master m ON m.name = s.name GROUP BY 1"
            )
            return dict(rows.fetchall())
        except sqlite3.OperationalError:  # SQLite was built without the table that tells
            return {"all": path.stat().st_size}
