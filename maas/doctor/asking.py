"""Questions about a whole database, whichever it is."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from maas.storage.prepared import is_sqlite

if TYPE_CHECKING:
    import psycopg

    Driver = sqlite3.Connection | psycopg.Connection[Any]

CHUNK = 5_000


@dataclass(frozen=True, slots=True)
class Belongings:
    """A table ``x`` each of whose rows belongs to a memory ``m``: to the one that ``same`` says, of the same user."""

    table: str
    same: str

    def sql(self, template: str) -> str:
        """[table], and the conditions that a row of it is [orphaned], and that a memory is [without] any."""
        conditions = {
            "[orphaned]": "NOT EXISTS (SELECT 1 FROM memories m WHERE [mine])",
            "[without]": "NOT EXISTS (SELECT 1 FROM [table] x WHERE [mine])",
            "[mine]": "m.tenant_id = x.tenant_id AND m.user_id = x.user_id AND [same]",
            "[table]": self.table,
            "[same]": self.same,
        }
        for name, sql in conditions.items():
            template = template.replace(name, sql)
        return template

    def orphans(self, driver: Driver) -> int:
        return count(driver, self.sql("SELECT count(*) FROM [table] x WHERE [orphaned]"))

    def drop_orphans(self, driver: Driver) -> int:
        return change(driver, self.sql("DELETE FROM [table] AS x WHERE [orphaned]"))

    def memories_without(self, driver: Driver) -> int:
        return count(driver, self.sql("SELECT count(*) FROM memories m WHERE [without]"))


HISTORY = Belongings("memory_versions", "m.id = x.memory_id")
VECTORS = Belongings("vectors", "m.seq = x.seq")


def each(driver: Driver, query: str) -> Iterator[tuple[Any, ...]]:
    """Rows as they are read: a table may not fit into memory."""
    if is_sqlite(driver):
        yield from driver.execute(query)
        return
    with driver.cursor("maas_doctor") as cursor:
        cursor.itersize = CHUNK
        cursor.execute(cast("Any", query))
        yield from cursor


def count(driver: Driver, query: str) -> int:
    return int(next(each(driver, query))[0])


def change(driver: Driver, query: str) -> int:
    """How many rows it has changed."""
    return int(cast("Any", driver).execute(query).rowcount)
