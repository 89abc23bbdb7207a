"""``maas purge``, ``audit``, ``doctor``, ``backup``, ``restore``: what an operator does to a data folder."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from maas.cli.connect import LazyEmbedder, open_brain, quiet_logs, settings_from
from maas.cli.options import ConfigOption, DataDirOption, JsonOption, TenantOption, utc_text
from maas.cli.output import note, print_json, print_line, print_table


def register(app: typer.Typer) -> None:
    app.command()(purge)
    app.command()(audit)
    app.command()(doctor)
    app.command()(backup)
    app.command()(restore)
    app.command()(encrypt)


def purge(
    context: typer.Context, config: ConfigOption = None, data_dir: DataDirOption = None, as_json: JsonOption = False
) -> None:
    """Remove for good what has expired, and what deletions left on disk. Safe while servers run."""
    with open_brain(context, settings_from(config, data_dir)) as brain:
        report = brain.purge()
    assert report is not None
    if as_json:
        print_json(report)
        return
    print_line(f"purged {report.expired:,} expired memories and {report.audit_entries:,} old audit entries")
    if not report.wiped:
        note("a reader still holds old pages of the log; purge again to overwrite what was deleted")


def audit(
    context: typer.Context,
    user_id: Annotated[str | None, typer.Option("--user-id", "-u", help="Only about this user, erased or not.")] = None,
    actor: Annotated[str | None, typer.Option(help="Only by this key id, or by cli, embedded, local, upkeep.")] = None,
    action: Annotated[str | None, typer.Option(help="Only this action, such as store, delete, erase.")] = None,
    refused: Annotated[bool, typer.Option("--refused", help="Only what was refused.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many, newest first.")] = 50,
    cursor: Annotated[int | None, typer.Option(help="Go on after this entry.")] = None,
    tenant: TenantOption = "default",
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show who did, or was refused, what."""
    asked = {"user_id": user_id, "actor": actor, "action": action, "cursor": cursor, "limit": limit}
    asked["outcome"] = "refused" if refused else None
    with open_brain(context, settings_from(config, data_dir), tenant) as brain:
        page = brain.audit(**{name: value for name, value in asked.items() if value is not None})
    if as_json:
        print_json(page)
        return
    rows = [
        [e.number, utc_text(e.at), e.actor, e.action, e.outcome, e.user_id or "", e.subject or "", e.count]
        for e in page.results
    ]
    print_table(["number", "at", "actor", "action", "outcome", "user", "subject", "count"], rows)


def doctor(
    context: typer.Context,
    repair: Annotated[bool, typer.Option("--repair", help="Rebuild what follows from the memories' rows.")] = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Prove that the data folder is sound: files, schema, pages, texts, words, vectors, recall. If not, exit 1."""
    from maas.doctor.examine import examine

    settings = settings_from(config, data_dir)
    quiet_logs(settings)
    embedder = context.obj or LazyEmbedder(settings)
    try:
        report = examine(settings, embedder, lambda: datetime.now(UTC), repair=repair, on_progress=_checked)
    finally:
        if context.obj is None:
            embedder.close()
    if as_json:
        print_json(report)
    else:
        print_table(["check", "", "found"], [[f.check, f.severity, f.detail] for f in report.findings])
        for what in report.repaired:
            print_line(f"rebuilt {what}")
        if not repair and any(f.remedy for f in report.findings):
            note("`maas doctor --repair` rebuilds what can be rebuilt; make a backup first")
    if not report.healthy:
        raise typer.Exit(1)


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to; FILE.json, its manifest, goes beside it.")],
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy the whole database to FILE while servers go on, and prove that the copy recalls."""
    from maas.backup import back_up

    settings = settings_from(config, data_dir)
    quiet_logs(settings)
    manifest = back_up(settings, file)
    if as_json:
        print_json(manifest)
    else:
        print_line(f"{file}: {manifest.memories:,} memories of {manifest.users:,} users, {manifest.bytes:,} bytes")
        print_line(f"SHA-256 {manifest.sha256}")


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What backup wrote.")],
    replace: Annotated[
        bool, typer.Option("--replace", help="Put the database that is there aside, and take its place.")
    ] = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a backup in the place of the database, if its hash holds and it recalls. Servers must be stopped."""
    from maas.backup import restore as put_back

    settings = settings_from(config, data_dir)
    quiet_logs(settings)
    report = put_back(settings, file, replace=replace)
    if as_json:
        print_json(report)
        return
    print_line(f"{report.database}: {report.manifest.memories:,} memories of {report.manifest.users:,} users")
    if report.previous:
        print_line(
            f"what was there lies at {report.previous}; users erased since are erased again: {report.erased_again}"
        )


def encrypt(
    key_file: Annotated[
        Path | None, typer.Argument(metavar="[KEY_FILE]", help="File with the new key: 64 hexadecimal digits.")
    ] = None,
    off: Annotated[bool, typer.Option("--off", help="Leave the database unencrypted.")] = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Encrypt the database, or give it another key. The settings name the present one. Servers must be stopped."""
    from maas.backup import encrypt as write_anew
    from maas.storage.encryption import key_in

    if off == (key_file is not None):
        raise typer.BadParameter("give the file of the new key, or --off")
    settings = settings_from(config, data_dir)
    quiet_logs(settings)
    users, memories = write_anew(settings, None if key_file is None else key_in(key_file))
    if as_json:
        print_json({"encrypted": not off, "users": users, "memories": memories})
    else:
        print_line(f"{memories:,} memories of {users:,} users are {'not encrypted' if off else 'under the new key'}")
    note(f"set storage.encryption_key_file to {'null' if off else key_file} before anything opens the database")


def _checked(check: str) -> None:
    note(f"looked at {check}")
