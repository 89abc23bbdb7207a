"""``maas migrate``, ``tune``, ``reindex``, ``export``, ``erase``: whole stores and whole users."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maas.cli.connect import Where, open_brain, settings_from, with_where
from maas.cli.options import (
    ConfigOption,
    DataDirOption,
    JsonOption,
    UserOption,
    utc_text,
)
from maas.cli.output import note, print_json, print_line, print_table, whole
from maas.cli.progress import progress
from maas.errors import StorageError

if TYPE_CHECKING:
    from maas.records import ReindexStatus


def register(app: typer.Typer) -> None:
    app.command()(migrate)
    app.command("migrate-store")(migrate_store)
    app.command()(tune)
    app.command()(reindex)
    app.command()(export)
    app.command()(erase)


def migrate(config: ConfigOption = None, data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """Bring the database to this version's schema. Opening a store does the same; this says what was done."""
    from maas.storage.opening import open_store, shown_url
    from maas.storage.tables import SCHEMA_REVISION

    settings = settings_from(config, data_dir)
    store = open_store(settings)
    store.close()
    before, url = store.found_revision, shown_url(settings)
    changed = before != SCHEMA_REVISION
    if as_json:
        print_json({"changed": changed, "before": before, "after": SCHEMA_REVISION, "database": url})
    elif changed:
        print_line(f"migrated {url} from {before or 'empty'} to {SCHEMA_REVISION}")
    else:
        print_line(f"{url} is at {SCHEMA_REVISION}; nothing to do")


def migrate_store(
    target: Annotated[str, typer.Option("--to", metavar="URL", help="postgresql+psycopg://user@host/name, empty.")],
    source: Annotated[
        str | None, typer.Option("--from", metavar="URL", help="sqlite:///path; default: the configured database.")
    ] = None,
    final: Annotated[
        bool, typer.Option("--final", help="Lock the source until nothing is missing; from then on use the target.")
    ] = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy a SQLite database into PostgreSQL while servers go on; run again to catch up, last with --final."""
    from maas.storage.opening import copy_to_postgres

    settings = settings_from(config, data_dir)
    with progress() as report:
        done = copy_to_postgres(settings, source, target, final=final, report=report)
    if as_json:
        print_json(done)
        return
    print_line(f"{done.target}: {done.memories:,} memories of {done.users:,} users, equal by count and hash")
    print_line(f"SHA-256 {done.sha256}")
    if done.final:
        note(f"now set storage.url to {done.target} and start the servers")
    else:
        note(f"{done.behind:,} users were written to meanwhile; stop the servers, then run this again with --final")


def tune(config: ConfigOption = None, data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """On PostgreSQL: index the vectors of users who have more than storage.exact_up_to. Safe while servers run."""
    from maas.storage.opening import tune_store

    made, dropped = tune_store(settings_from(config, data_dir), lambda index: note(f"making {index}"))
    if as_json:
        print_json({"made": made, "dropped": dropped})
    else:
        print_line(f"made {len(made):,} indexes, dropped {len(dropped):,}")


def reindex(
    context: typer.Context,
    status: Annotated[bool, typer.Option("--status", help="Only say how far it is.")] = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Re-embed every memory with the configured embedder. Safe while a server runs; starts again where it stopped."""
    with open_brain(context, settings_from(config, data_dir)) as brain:
        if status:
            result = brain.reindex_status()
        else:
            with progress() as report:
                result = brain.reindex(on_progress=lambda now: report("re-embedded", now.done, now.total))
    if as_json:
        print_json(result)
    else:
        print_line(f"{result.state}: {result.done:,} of {result.total:,} memories are in {result.fingerprint}")
    _refuse_failure(result)


@with_where
def export(
    where: Where,
    user_id: UserOption,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File to write; default: standard output.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Write everything known about a user as JSON lines: memories, versions, vectors."""
    if as_json and out is None:
        raise typer.BadParameter("reports on a file; give --out FILE as well", param_hint="--json")
    with (
        where.open() as target,
        progress() as report,
        whole(out) if out else nullcontext(sys.stdout) as file,
    ):
        count = 0
        for count, line in enumerate(target.export_user(user_id), 1):
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
            if count % 100 == 0:
                report("lines exported", count, 0)
    if as_json:
        print_json({"lines": count, "file": str(out)})
    else:
        note(f"{count:,} lines exported{f' to {out}' if out else ''}")


@with_where
def erase(
    where: Where,
    user_id: UserOption,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Erase everything a user stored, and print the receipt."""
    if not yes:
        if not sys.stdin.isatty():
            raise typer.BadParameter("is needed when nobody can be asked", param_hint="--yes")
        typer.confirm(f"Erase every memory of {user_id!r}? This cannot be undone.", abort=True, err=True)
    with where.open() as target:
        receipt = target.erase_user(user_id)
    if as_json:
        print_json(receipt)
    else:
        print_table(
            ["kept in", "before", "after"], [[t, n, receipt.after.get(t, 0)] for t, n in receipt.before.items()]
        )
        print_line(f"receipt {receipt.sha256}")
    for backup in receipt.backups:
        note(f"the backup {backup.name} of {utc_text(backup.made_at)} still holds this user; delete or replace it")
    if not receipt.wiped:
        note("a reader still holds old pages of the log; `maas purge` overwrites them")


def _refuse_failure(status: ReindexStatus) -> None:
    if status.state == "failed":
        raise StorageError(f"re-embedding failed after {status.done:,} of {status.total:,}: {status.error}")
