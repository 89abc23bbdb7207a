"""``maas keys``: make, list and revoke API keys on the data folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from maas.cli.connect import open_brain, settings_from
from maas.cli.options import ConfigOption, DataDirOption, JsonOption, TenantOption, utc_text
from maas.cli.output import note, print_json, print_line, print_table

if TYPE_CHECKING:
    from maas.records import NewApiKey


def register(app: typer.Typer) -> None:
    keys = typer.Typer(help="API keys of a tenant.", no_args_is_help=True)
    keys.command()(create)
    keys.command("list")(list_keys)
    keys.command()(rotate)
    keys.command()(revoke)
    app.add_typer(keys, name="keys")


def create(
    context: typer.Context,
    name: Annotated[str, typer.Option(help="What the key is for.")] = "unnamed",
    scope: Annotated[
        list[str] | None, typer.Option(help="read, write or admin; repeat for several. Default: read and write.")
    ] = None,
    user_id: Annotated[str | None, typer.Option("--user-id", "-u", help="Narrow the key to one user.")] = None,
    expires_at: Annotated[str | None, typer.Option(help="When it stops working, ISO 8601; default: never.")] = None,
    tenant: TenantOption = "default",
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key. It is shown once and stored nowhere."""
    fields: dict[str, Any] = {"name": name, "user_id": user_id, "expires_at": expires_at}
    if scope:
        fields["scopes"] = scope
    with open_brain(context, settings_from(config, data_dir), tenant) as brain:
        made = brain.create_key(**fields)
    _show_new(made, as_json)


def rotate(
    context: typer.Context,
    key_id: Annotated[str, typer.Argument(help="The old key's id, from `maas keys list`.")],
    grace_seconds: Annotated[int, typer.Option(min=0, help="How long the old key goes on working.")] = 0,
    tenant: TenantOption = "default",
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key in the place of an old one. It is shown once and stored nowhere."""
    with open_brain(context, settings_from(config, data_dir), tenant) as brain:
        made = brain.rotate_key(key_id, grace_seconds=grace_seconds)
    _show_new(made, as_json)


def list_keys(
    context: typer.Context,
    tenant: TenantOption = "default",
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """List a tenant's keys, without their secrets."""
    with open_brain(context, settings_from(config, data_dir), tenant) as brain:
        found = brain.list_keys()
    if as_json:
        print_json(found)
        return
    print_table(
        ["id", "name", "scopes", "user", "created", "expires", "revoked"],
        [
            [
                key.id,
                key.name,
                ", ".join(key.scopes),
                key.user_id or "all",
                utc_text(key.created_at),
                utc_text(key.expires_at),
                utc_text(key.revoked_at),
            ]
            for key in found.results
        ],
    )


def revoke(
    context: typer.Context,
    key_id: Annotated[str, typer.Argument(help="The key's id, from `maas keys list`.")],
    tenant: TenantOption = "default",
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Stop a key from working."""
    with open_brain(context, settings_from(config, data_dir), tenant) as brain:
        revoked = brain.revoke_key(key_id)
    if as_json:
        print_json(revoked)
    else:
        print_line(f"revoked  {revoked.id}  {revoked.name}")


def _show_new(made: NewApiKey, as_json: bool) -> None:
    if as_json:
        print_json(made)
        return
    print_line(made.key)
    note(f"id {made.id}, tenant {made.tenant}, scopes {', '.join(made.scopes)}; keep it, it is not shown again")
