"""``maas documents``: long texts, recalled by passage."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maas.cli.connect import Where, with_where
from maas.cli.options import (
    AgentOption,
    JsonOption,
    MetadataOption,
    UserOption,
    json_object,
    utc_text,
)
from maas.cli.output import note, print_json, print_line, print_table
from maas.cli.progress import progress

if TYPE_CHECKING:
    from maas.records import Document

OwnerOption = Annotated[str | None, typer.Option("--user-id", "-u", help="Whose document; default: its owner.")]


def register(app: typer.Typer) -> None:
    documents = typer.Typer(help="Store long texts, and see how far they are read.", no_args_is_help=True)
    documents.command()(store)
    documents.command("list")(list_documents)
    documents.command()(get)
    documents.command()(delete)
    app.add_typer(documents, name="documents")


@with_where
def store(
    where: Where,
    file: Annotated[str, typer.Argument(help="A text file in UTF-8; - reads standard input.")],
    user_id: UserOption,
    title: Annotated[str | None, typer.Option(help="Its title; default: the file's name.")] = None,
    metadata: MetadataOption = None,
    agent_id: AgentOption = None,
    created_at: Annotated[str | None, typer.Option(help="When it was written, ISO 8601; default: now.")] = None,
    importance: Annotated[float | None, typer.Option(help="0 to 1.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Store a long text; stored again after an interruption, it is read on where it stopped."""
    text = sys.stdin.read() if file == "-" else _read(Path(file))
    with (
        where.open() as target,
        progress() as report,
    ):
        document = target.store_document(
            text,
            user_id=user_id,
            title=title or (None if file == "-" else Path(file).name),
            metadata=json_object(metadata, "--metadata") or {},
            agent_id=agent_id,
            created_at=created_at,
            importance=importance,
            on_progress=lambda read: report("passages", read.read_passages, read.passages),
        )
    if as_json:
        print_json(document)
    else:
        print_line(f"{document.state}  {document.id}  {document.read_passages:,} of {document.passages:,} passages")


@with_where
def list_documents(
    where: Where,
    user_id: UserOption,
    limit: Annotated[int, typer.Option(help="Documents a page.")] = 50,
    cursor: Annotated[str | None, typer.Option(help="Where the page before ended.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List a user's documents, page by page."""
    with where.open() as target:
        page = target.list_documents(user_id=user_id, limit=limit, cursor=cursor)
    if as_json:
        print_json(page)
        return
    print_table(["when", "state", "passages", "title", "id"], [_row(document) for document in page.results])
    if page.next_cursor:
        note(f"more: --cursor {page.next_cursor}")


@with_where
def get(
    where: Where,
    document_id: str,
    user_id: OwnerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a document, and how far it is read."""
    with where.open() as target:
        document = target.get_document(document_id, user_id=user_id)
    if as_json:
        print_json(document)
    else:
        print_table(["when", "state", "passages", "title", "id"], [_row(document)])


@with_where
def delete(
    where: Where,
    document_id: str,
    user_id: OwnerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete a document with its passages."""
    with where.open() as target:
        deleted = target.delete_document(document_id, user_id=user_id)
    if as_json:
        print_json(deleted)
    else:
        print_line(f"{deleted.event}  {deleted.id}")


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{file} cannot be read as UTF-8: {error}") from None


def _row(document: Document) -> list[str]:
    passages = f"{document.read_passages:,} of {document.passages:,}"
    return [utc_text(document.created_at), document.state, passages, document.title or "", document.id]
