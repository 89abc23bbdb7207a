"""A long text cut into passages: whole paragraphs and sentences where they are short enough.

The cut knows no encoder, so offsets stay when the encoder changes. Passages lie end to end: together they are the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

LONGEST = 600
"""Characters: about 130 tokens of English, half of what the smallest encoders read."""
SHORTEST = 200
_ENDS = (re.compile(r"\n\s*\n\s*"), re.compile(r"[.!?…][\"'”’)\]]*\s+|[。！？][”’」』]*\s*"), re.compile(r"\s+"))


def passages(text: str) -> Iterator[tuple[int, int]]:
    """(start, end) of each passage, in characters; white space belongs to the passage before it.

    A passage ends at the last paragraph that leaves it SHORTEST to LONGEST characters, else at the last sentence, else
    at the last word, else at LONGEST characters. One of white space alone is joined to its neighbour.
    """
    start, last = 0, len(text.rstrip())
    while start < len(text):
        end = _end(text, start)
        if end >= last:
            end = len(text)
        yield start, end
        start = end


def _end(text: str, start: int) -> int:
    limit = start + LONGEST
    if limit >= len(text):
        return len(text)
    # Leading white space is no reason to end: the first passage may begin with any amount of it.
    told = start + len(text[start:limit]) - len(text[start:limit].lstrip())
    if told == limit:
        more = re.compile(r"\S").search(text, limit)
        return len(text) if more is None else min(len(text), more.start() + LONGEST)
    for ends in _ENDS:
        found = [place.end() for place in ends.finditer(text, max(told + 1, start + SHORTEST), limit)]
        if found and text[start : found[-1]].strip():
            return found[-1]
    return limit
