"""From one SQLite file to a PostgreSQL database, while servers go on writing to the file.

Users are copied in groups, each from one snapshot and into one transaction, with the revision they had. A later run
copies only users whose revision has moved on, and so goes on where one was cut off. In the end every row of both is
read and hashed, and a user whose hashes differ is copied again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import psycopg
from pydantic import Field
from sqlalchemy import Engine, delete, func, insert, select, text, tuple_

from maas.errors import ConfigError, ConflictError, StorageError
from maas.records import Record
from maas.settings import Settings
from maas.storage import copied_rows, tables
from maas.storage.copied_rows import INTO, OF_A_USER, SHARED, Digest
from maas.storage.engine import Transaction, make_engines, storage_errors, transaction
from maas.storage.migrate import upgrade
from maas.storage.opening import on_postgres, open_store, shown_url
from maas.storage.postgres_engine import READ, WRITE, make_postgres_engine, postgres_transaction
from maas.storage.postgres_errors import postgres_errors

MARK = "copy"  # in the target's `upkeep`, from the first run's beginning to the final one's end
_LOCK = 6_173_002
_ROUNDS = 3
_GROUP = 5_000  # memories
_NUMBERED = {"memories": "seq", "users": "number", "spaces": "space", "reindex_runs": "run", "audit_log": "number"}

User = tuple[str, str]
OnProgress = Callable[[str, int, int], None]
Source = Callable[[], AbstractContextManager[Transaction[Any]]]


class CopyReport(Record):
    """What a copy found equal in the end, by count and by hash."""

    source: str
    target: str
    users: int
    memories: int
    copied: int = Field(description="Users copied in this run; the others were there already.")
    behind: int = Field(description="Users written to while this run went on; the next one takes them.")
    final: bool = Field(description="Whether the source was locked, so that nothing is missing.")
    sha256: str = Field(description="Over every row of every table that was compared, the same of both.")


def copy_store(source: Settings, target: Settings, *, final: bool, report: OnProgress) -> CopyReport:
    """Copy, catch up, verify.

    Args:
        source: of a SQLite file.
        target: of a PostgreSQL database.
        final: lock the file against writers until all is copied, and let the target be used from then on.
        report: told (stage, done, total).

    Raises:
        ConfigError: another kind of URL.
        ConflictError: the target holds what no copy brought there, or another copy is running.
        StorageError: the two differ although they were copied; the source is as it was.
    """
    if on_postgres(source) or not on_postgres(target):
        raise ConfigError("migrate-store copies from sqlite:///path to postgresql+psycopg://user@host/name")
    open_store(target).close()
    reader, writer = make_engines(source)
    engine = make_postgres_engine(target)
    try:
        with storage_errors(), postgres_errors(), ExitStack() as held:
            upgrade(writer)
            held.enter_context(_alone(engine))
            if final:
                locked = held.enter_context(transaction(writer, "BEGIN IMMEDIATE"))
                copying = _Copying(lambda: _borrowed(locked), engine, report)
            else:
                copying = _Copying(lambda: transaction(reader, "BEGIN"), engine, report)
            found = copying.run()
            if final:
                copying.open_target()
    finally:
        for used in (reader, writer, engine):
            used.dispose()
    return CopyReport(source=shown_url(source), target=shown_url(target), final=final, **found)


class _Copying:
    def __init__(self, source: Source, engine: Engine, report: OnProgress) -> None:
        self._source = source
        self._engine = engine
        self._report = report

    def run(self) -> dict[str, Any]:
        self._mark_target()
        copied: set[User] = set()
        doubtful: set[User] = set()
        for _ in range(_ROUNDS):
            copied |= self._copy_users(doubtful)
            self._copy_shared()
            doubtful, behind, whole, memories = self._compare()
            if not doubtful:
                return {
                    "users": len(whole["users"]),
                    "memories": memories,
                    "copied": len(copied),
                    "behind": len(behind),
                    "sha256": copied_rows.together(whole),
                }
        raise StorageError(
            f"{len(doubtful):,} users differ in the target although they were copied {_ROUNDS} times; is it written to?"
            " Copy into a new database"
        )

    def open_target(self) -> None:
        """From now on the target goes its own way, and no copy touches it."""
        with postgres_transaction(self._engine, WRITE) as opened:
            opened.connection.execute(delete(tables.upkeep).where(tables.upkeep.c.task == MARK))

    def _mark_target(self) -> None:
        mark = select(tables.upkeep.c.at).where(tables.upkeep.c.task == MARK)
        with postgres_transaction(self._engine, WRITE) as opened:
            connection = opened.connection
            if connection.execute(mark).first() is not None:
                return
            if connection.execute(select(tables.users.c.number).limit(1)).first() is not None:
                raise ConflictError("the target holds memories of its own; name a new, empty database")
            connection.execute(insert(tables.upkeep).values(task=MARK, at=tables.from_microseconds(0)))

    def _copy_users(self, doubtful: set[User]) -> set[User]:
        with self._source() as opened:
            wanted = copied_rows.revisions(opened.connection)
            highest = copied_rows.high_marks(opened.connection).get("users", 0)
        with postgres_transaction(self._engine, READ) as target:
            there = copied_rows.revisions(target.connection)
        _refuse_own(wanted, there, highest)
        changed = [
            user
            for user, (number, revision, _) in wanted.items()
            if user in doubtful or there.get(user, (0, -1, 0))[:2] != (number, revision)
        ]
        self._drop([user for user in there if user not in wanted])
        done = len(wanted) - len(changed)
        for group in _grouped(changed, {user: count for user, (_, _, count) in wanted.items()}):
            self._copy_group(group, [user for user in group if user in there])
            done += len(group)
            self._report("users copied", done, len(wanted))
        return set(changed)

    def _copy_group(self, group: Sequence[User], old: Sequence[User]) -> None:
        with self._source() as opened, postgres_transaction(self._engine, WRITE) as target:
            _delete(target, old)
            for each in OF_A_USER:
                found = copied_rows.rows(opened.connection, each, _any_of(each, group))
                INTO[each].run_many(target.driver, (copied_rows.values(each, row) for row in found))

    def _drop(self, users: Sequence[User]) -> None:
        with postgres_transaction(self._engine, WRITE) as target:
            _delete(target, users)

    def _copy_shared(self) -> None:
        with self._source() as opened, postgres_transaction(self._engine, WRITE) as target:
            for each in reversed(SHARED):
                target.connection.execute(delete(each))
            for each in SHARED:
                found = copied_rows.rows(opened.connection, each)
                INTO[each].run_many(target.driver, (copied_rows.values(each, row) for row in found))
            for name, highest in copied_rows.high_marks(opened.connection).items():
                if name in _NUMBERED and highest:
                    sequence = func.pg_get_serial_sequence(name, _NUMBERED[name])
                    target.connection.execute(select(func.setval(sequence, highest)))

    def _compare(self) -> tuple[set[User], set[User], dict[str, dict[User, Digest]], int]:
        """Users whose rows differ, users who have changed since, digests by table, and the memories compared."""
        doubtful: set[User] = set()
        whole: dict[str, dict[User, Digest]] = {}
        with self._source() as opened, postgres_transaction(self._engine, READ) as target:
            wanted, there = copied_rows.revisions(opened.connection), copied_rows.revisions(target.connection)
            behind = {user for user in wanted.keys() | there.keys() if wanted.get(user) != there.get(user)}
            for number, each in enumerate((*OF_A_USER, *SHARED), 1):
                here = copied_rows.digests(opened.connection, each)
                copied = copied_rows.digests(target.connection, each)
                different = {user for user in here.keys() | copied.keys() if here.get(user) != copied.get(user)}
                whole[each.name] = {user: digest for user, digest in copied.items() if user not in different}
                if each in OF_A_USER:
                    doubtful |= different - behind
                self._report("tables compared", number, len(OF_A_USER) + len(SHARED))
        return doubtful, behind, whole, sum(count for count, _ in whole["memories"].values())


def _refuse_own(
    wanted: dict[User, tuple[int, int, int]], there: dict[User, tuple[int, int, int]], highest: int
) -> None:
    for user, (number, revision, _) in there.items():
        known = wanted.get(user)
        if number > highest or (known is not None and known[0] == number and revision > known[1]):
            raise ConflictError(
                f"the target was written to since it was copied (user {user[1]!r} of tenant {user[0]!r});"
                " a copy would undo that: name a new, empty database"
            )


def _grouped(users: Sequence[User], memories: dict[User, int]) -> Iterator[list[User]]:
    group: list[User] = []
    total = 0
    for user in users:
        group.append(user)
        total += memories[user] + 1
        if total >= _GROUP:
            yield group
            group, total = [], 0
    if group:
        yield group


def _any_of(each: Any, users: Sequence[User]) -> Any:
    return tuple_(each.c.tenant_id, each.c.user_id).in_(users)


def _delete(target: Transaction[psycopg.Connection[Any]], users: Sequence[User]) -> None:
    for each in reversed(OF_A_USER) if users else ():
        target.connection.execute(delete(each).where(_any_of(each, users)))


@contextmanager
def _borrowed(opened: Transaction[Any]) -> Iterator[Transaction[Any]]:
    yield opened


@contextmanager
def _alone(engine: Engine) -> Iterator[None]:
    """Two copies into one database would undo each other's work."""
    with postgres_transaction(engine, READ) as opened:
        held = opened.connection.execute(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": _LOCK}).scalar_one()
        if not held:
            raise ConflictError("another copy into this database is running; wait for it to end")
        yield
