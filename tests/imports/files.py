"""Small exports in the shapes that the services write."""

from __future__ import annotations

import json
import sqlite3
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any

CITED = "\ue200cite\ue202turn0search1\ue201\u30104:2\u2020notes\u3011"
TOOL_CALLED = "```\nThis block is not supported on your current device yet.\n```"


def chatgpt(path: Path) -> Path:
    """Two conversations; in the first, one answer was regenerated, one turn is hidden, some are a program's."""

    def node(
        name: str, parent: str | None, role: str = "", parts: Any = (), to: str = "all", **metadata: Any
    ) -> dict[str, Any]:
        message = {
            "id": name,
            "author": {"role": role},
            "create_time": 1_700_000_000.5 + len(name),
            "content": {"content_type": "text", "parts": list(parts)},
            "metadata": metadata,
            "recipient": to,
        }
        return {"id": name, "parent": parent, "children": [], "message": message if role else None}

    nodes = [
        node("root", None),
        node("sys", "root", "system", ["You are ChatGPT"], is_visually_hidden_from_conversation=True),
        node("q", "sys", "user", ["Where did I park?", {"content_type": "image_asset_pointer"}]),
        node("old", "q", "assistant", ["A first try"]),
        node("call", "q", "assistant", ['{"query": "parking"}'], to="file_search"),
        node("tool", "call", "tool", ["search()"]),
        node("answer", "tool", "assistant", [f"On level 3, you said{CITED}"]),
        node(
            "thanks", "answer", "user", [{"content_type": "audio_transcription", "text": "Thanks", "direction": "in"}]
        ),
    ]
    conversations = [
        {
            "title": "Parking",
            "create_time": 1_700_000_000.0,
            "mapping": {each["id"]: each for each in nodes},
            "conversation_id": "c1",
            "current_node": "thanks",
        },
        {"title": "Empty", "mapping": {"root": node("root", None)}, "id": "c2", "current_node": "root"},
    ]
    return written(path, json.dumps(conversations))


def claude(path: Path) -> Path:
    conversations = [
        {
            "uuid": "k1",
            "name": "Dentist",
            "created_at": "2024-05-01T10:00:00.000000Z",
            "chat_messages": [
                {"uuid": "m1", "sender": "human", "text": "The dentist is on Friday", "content": []},
                {
                    "uuid": "m2",
                    "sender": "assistant",
                    "text": f"They want a reminder.\n{TOOL_CALLED}\n\nNoted.",
                    "content": [
                        {"type": "thinking", "thinking": "They want a reminder."},
                        {"type": "tool_use", "name": "calendar", "input": {}},
                        {"type": "text", "text": "Noted."},
                    ],
                    "created_at": "2024-05-01T10:00:05.000000Z",
                },
                {"uuid": "m3", "sender": "human", "text": " ", "content": []},
                {
                    "uuid": "m4",
                    "sender": "assistant",
                    "text": TOOL_CALLED,
                    "content": [{"type": "tool_use", "name": "calendar", "input": {}}],
                },
            ],
        }
    ]
    return written(path, json.dumps(conversations))


def zipped(path: Path, *members: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("user.json", "{}")
        for member in members:
            archive.write(member, f"export/{member.name}")
    return path


def chroma(folder: Path) -> Path:
    """The tables that Chroma 0.4 to 1.5 keep documents in."""
    folder.mkdir()
    with closing(sqlite3.connect(folder / "chroma.sqlite3")) as database:
        database.executescript(
            """
            CREATE TABLE collections (id TEXT PRIMARY KEY, name TEXT NOT NULL, database_id TEXT);
            CREATE TABLE segments (id TEXT PRIMARY KEY, type TEXT, scope TEXT, collection TEXT);
            CREATE TABLE embeddings (id INTEGER PRIMARY KEY, segment_id TEXT, embedding_id TEXT, seq_id BLOB,
                created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP);
            CREATE TABLE embedding_metadata (id INTEGER, key TEXT, string_value TEXT, int_value INTEGER,
                float_value REAL, bool_value INTEGER, PRIMARY KEY (id, key));
            INSERT INTO collections VALUES ('c', 'notes', 'd');
            INSERT INTO segments VALUES ('s', 'metadata', 'METADATA', 'c'), ('v', 'vector', 'VECTOR', 'c');
            INSERT INTO embeddings VALUES
                (1, 's', 'first', x'01', '2024-05-01 10:00:00'),
                (2, 's', 'second', x'02', '2024-05-02 10:00:00'),
                (3, 's', 'vector only', x'03', '2024-05-02 10:00:00');
            INSERT INTO embedding_metadata VALUES
                (1, 'chroma:document', 'I like tea', NULL, NULL, NULL),
                (1, 'cups', NULL, 3, NULL, NULL), (1, 'hot', NULL, NULL, NULL, 1), (1, 'price', NULL, NULL, 1.5, NULL),
                (2, 'chroma:document', 'I like coffee', NULL, NULL, NULL),
                (2, 'user_id', 'bo', NULL, NULL, NULL),
                (3, 'cups', NULL, 1, NULL, NULL);
            """
        )
    return folder


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path
