"""``maas store``, ``recall``, ``list``, ``get``, ``history``, ``delete``: memories one at a time."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

from maas.cli.connect import Where, with_where
from maas.cli.options import (
    AgentOption,
    JsonOption,
    MetadataOption,
    RecallMode,
    SessionOption,
    UserOption,
    json_object,
    utc_text,
)
from maas.cli.output import note, print_json, print_line, print_table

SinceOption = Annotated[str | None, typer.Option(help="Only memories created at or after this ISO 8601 time.")]
UntilOption = Annotated[str | None, typer.Option(help="Only memories created at or before this ISO 8601 time.")]
AsOfOption = Annotated[str | None, typer.Option(help="What was known at this ISO 8601 time, as it was known.")]
NowOption = Annotated[str | None, typer.Option(help="When the question is asked, ISO 8601; for its relative dates.")]
FiltersOption = Annotated[
    str | None, typer.Option(metavar="JSON", help="""Filter, e.g. '{"metadata.city": "Tokyo"}'.""")
]
MaybeUserOption = Annotated[str | None, typer.Option("--user-id", "-u", help="Whose memory; default: its owner.")]


def register(app: typer.Typer) -> None:
    app.command()(store)
    app.command()(recall)
    app.command("context")(context_block)
    app.command("list")(list_memories)
    app.command()(get)
    app.command()(history)
    app.command()(delete)


@with_where
def store(
    where: Where,
    text: Annotated[str, typer.Argument(help="What to remember; - reads it from standard input.")],
    user_id: UserOption,
    metadata: MetadataOption = None,
    agent_id: AgentOption = None,
    session_id: SessionOption = None,
    created_at: Annotated[str | None, typer.Option(help="When it was said, ISO 8601; default: now.")] = None,
    expires_at: Annotated[str | None, typer.Option(help="When to forget it, ISO 8601.")] = None,
    importance: Annotated[float | None, typer.Option(help="0 to 1.")] = None,
    memory_key: Annotated[str | None, typer.Option(help="Your own id; storing it again replaces the memory.")] = None,
    supersedes: Annotated[str | None, typer.Option(help="Id of the memory this one replaces.")] = None,
    dedupe: Annotated[str, typer.Option(help="exact, semantic or off.")] = "exact",
    as_json: JsonOption = False,
) -> None:
    """Store one memory."""
    given: dict[str, Any] = {
        "metadata": json_object(metadata, "--metadata"),
        "agent_id": agent_id,
        "session_id": session_id,
        "created_at": created_at,
        "expires_at": expires_at,
        "importance": importance,
        "key": memory_key,
        "supersedes": supersedes,
        "dedupe": dedupe,
    }
    fields = {name: value for name, value in given.items() if value is not None}
    said = sys.stdin.read().removesuffix("\n") if text == "-" else text  # `echo hi |` says hi
    with where.open() as target:
        response = target.store(said, user_id=user_id, **fields)
    if as_json:
        print_json(response)
        return
    for result in response.results:
        print_line(f"{result.event}  {result.id}  {result.text}")
        for similar in result.similar:
            note(f"  close to {similar.id} ({similar.score:.2f})")


@with_where
def recall(
    where: Where,
    query: Annotated[str, typer.Argument(help="What to look for, in plain words.")],
    user_id: UserOption,
    top_k: Annotated[int, typer.Option("--top-k", "-k", help="Memories to return at most.")] = 10,
    mode: Annotated[RecallMode, typer.Option(help="How to search.")] = RecallMode.hybrid,
    filters: FiltersOption = None,
    agent_id: AgentOption = None,
    session_id: SessionOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    as_of: AsOfOption = None,
    now: NowOption = None,
    min_score: Annotated[float, typer.Option(help="Leave out hits scored below this, 0 to 1.")] = 0.0,
    include_superseded: Annotated[
        bool, typer.Option("--include-superseded", help="Replaced memories as well.")
    ] = False,
    rerank: Annotated[bool, typer.Option("--rerank", help="Compare the 50 best word by word as well.")] = False,
    mmr: Annotated[
        float | None, typer.Option(min=0, max=1, help="Choose unlike memories; 1 goes by the score alone.")
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Each part's share of the score (with --json).")] = False,
    as_json: JsonOption = False,
) -> None:
    """Find the memories that answer a question."""
    options: dict[str, Any] = {
        "top_k": top_k,
        "mode": mode.value,
        "filters": json_object(filters, "--filters"),
        "agent_id": agent_id,
        "session_id": session_id,
        "since": since,
        "until": until,
        "as_of": as_of,
        "now": now,
        "min_score": min_score,
        "include_superseded": include_superseded,
        "explain": explain,
        "rerank": rerank,
        "mmr": mmr,
    }
    with where.open() as target:
        response = target.recall(query, user_id=user_id, **options)
    if as_json:
        print_json(response)
        return
    print_table(
        ["score", "when", "who", "memory", "id"],
        [[f"{hit.score:.3f}", utc_text(hit.created_at), hit.name or "", hit.text, hit.id] for hit in response.results],
    )
    note(f"{len(response.results)} memories in {response.took_ms:.1f} ms")


@with_where
def context_block(
    where: Where,
    query: Annotated[str, typer.Argument(help="What the prompt is about, in plain words.")],
    user_id: UserOption,
    max_tokens: Annotated[int | None, typer.Option(help="Room for the block, in estimated tokens.")] = None,
    max_characters: Annotated[int | None, typer.Option(help="Room for the block, in characters.")] = None,
    top_k: Annotated[int, typer.Option("--top-k", "-k", help="Memories to take at most.")] = 30,
    mode: Annotated[RecallMode, typer.Option(help="How to search.")] = RecallMode.hybrid,
    filters: FiltersOption = None,
    agent_id: AgentOption = None,
    session_id: SessionOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    as_of: AsOfOption = None,
    now: NowOption = None,
    min_score: Annotated[float, typer.Option(help="Leave out memories scored below this, 0 to 1.")] = 0.0,
    as_json: JsonOption = False,
) -> None:
    """Print what is remembered about a question as a block for a prompt."""
    from maas.prompting import DEFAULT_CONTEXT_TOKENS

    options: dict[str, Any] = {
        "max_tokens": max_tokens,
        "max_characters": max_characters,
        "top_k": top_k,
        "mode": mode.value,
        "filters": json_object(filters, "--filters"),
        "agent_id": agent_id,
        "session_id": session_id,
        "since": since,
        "until": until,
        "as_of": as_of,
        "now": now,
        "min_score": min_score,
    }
    if max_tokens is None and max_characters is None:
        options["max_tokens"] = DEFAULT_CONTEXT_TOKENS
    with where.open() as target:
        response = target.context(query, user_id=user_id, **options)
    if as_json:
        print_json(response)
        return
    for line in response.text.splitlines():
        print_line(line)
    note(f"{len(response.memories)} memories, about {response.tokens} tokens")


@with_where
def list_memories(
    where: Where,
    user_id: UserOption,
    limit: Annotated[int, typer.Option(help="Memories a page.")] = 50,
    cursor: Annotated[str | None, typer.Option(help="Where the page before ended.")] = None,
    filters: FiltersOption = None,
    agent_id: AgentOption = None,
    session_id: SessionOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    include_superseded: Annotated[
        bool, typer.Option("--include-superseded", help="Replaced memories as well.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List a user's memories, page by page."""
    options: dict[str, Any] = {
        "limit": limit,
        "cursor": cursor,
        "filters": json_object(filters, "--filters"),
        "agent_id": agent_id,
        "session_id": session_id,
        "since": since,
        "until": until,
        "include_superseded": include_superseded,
    }
    with where.open() as target:
        page = target.list(user_id=user_id, **options)
    if as_json:
        print_json(page)
        return
    print_table(
        ["when", "who", "memory", "id"],
        [[utc_text(memory.created_at), memory.name or "", memory.text, memory.id] for memory in page.results],
    )
    if page.next_cursor:
        note(f"more: --cursor {page.next_cursor}")


@with_where
def get(
    where: Where,
    memory_id: str,
    user_id: MaybeUserOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one memory."""
    with where.open() as target:
        memory = target.get(memory_id, user_id=user_id)
    if as_json:
        print_json(memory)
        return
    for name, value in memory.model_dump(mode="json", exclude_none=True).items():
        print_line(f"{name}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}")


@with_where
def history(
    where: Where,
    memory_id: str,
    user_id: MaybeUserOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show every version of a memory."""
    with where.open() as target:
        versions = target.history(memory_id, user_id=user_id)
    if as_json:
        print_json(versions)
        return
    print_table(
        ["version", "event", "when", "by", "text"],
        [[entry.version, entry.event, utc_text(entry.at), entry.actor, entry.text] for entry in versions.results],
    )


@with_where
def delete(
    where: Where,
    memory_id: str,
    user_id: MaybeUserOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete one memory."""
    with where.open() as target:
        deleted = target.delete(memory_id, user_id=user_id)
    if as_json:
        print_json(deleted)
    else:
        print_line(f"{deleted.event}  {deleted.id}")
