"""Memories as data inside a prompt: whatever was stored cannot end the quotation it stands in."""

from __future__ import annotations

import json

from maas.records import Memory


def quoted(memory: Memory) -> str:
    """One line of JSON: when it was said, by whom, and what. Its strings hold no ``<``, so they close no tag."""
    said = {"at": memory.created_at.date().isoformat(), "by": memory.name or memory.role, "text": memory.text}
    line = json.dumps({name: value for name, value in said.items() if value}, ensure_ascii=False)
    return line.replace("<", "\\u003c")
