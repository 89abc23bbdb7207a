"""Which words of a memory a question found it by."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass

from maas.recall.analysis import UNSPACED, WORD, document_terms, query_terms

Span = tuple[int, int]
_BEFORE = 60  # characters shown before the first word that was found


@dataclass(frozen=True, slots=True)
class Fragment:
    text: str
    found: bool


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A part of a text in fragments; ``cut_before`` and ``cut_after`` say whether the text goes on there."""

    fragments: list[Fragment]
    cut_before: bool
    cut_after: bool


def found_spans(text: str, question: str) -> list[Span]:
    """Where ``text`` has words with a term of the question, by the analysis that both were indexed with."""
    wanted = set(query_terms(question))
    known: dict[str, bool] = {}
    spans: list[Span] = []
    for match in WORD.finditer(text):
        word, start = match.group(), match.start()
        if UNSPACED.search(word):
            spans += _within(word, start, wanted)
            continue
        if word not in known:
            known[word] = not wanted.isdisjoint(document_terms(word))
        if known[word]:
            spans.append((start, match.end()))
    return spans


def _within(word: str, offset: int, wanted: set[str]) -> list[Span]:
    """In a script without spaces a run of characters is no word: the terms are looked for inside it."""
    hits = [False] * len(word)
    folded = word.casefold()
    for term in wanted:
        place = folded.find(term)
        while place >= 0:
            hits[place : place + len(term)] = [True] * len(term)
            place = folded.find(term, place + 1)
    spans: list[Span] = []
    for place, hit in enumerate(hits[: len(word)]):
        if hit and spans and spans[-1][1] == offset + place:
            spans[-1] = (spans[-1][0], offset + place + 1)
        elif hit:
            spans.append((offset + place, offset + place + 1))
    return spans


def excerpt(text: str, question: str, width: int = 600) -> Excerpt:
    """The ``width`` characters of ``text``, or a little less, that hold most of what the question found."""
    spans = found_spans(text, question)
    start, end = _window(text, spans, width)
    fragments, place = [], start
    for first, last in spans:
        if first < start or last > end:
            continue
        fragments += [Fragment(text[place:first], found=False), Fragment(text[first:last], found=True)]
        place = last
    fragments.append(Fragment(text[place:end], found=False))
    return Excerpt([part for part in fragments if part.text], start > 0, end < len(text))


def _window(text: str, spans: list[Span], width: int) -> Span:
    if len(text) <= width:
        return 0, len(text)
    starts = [max(0, first - _BEFORE) for first, _ in spans] or [0]
    firsts, lasts = [first for first, _ in spans], [last for _, last in spans]
    # Spans lie one behind the other: those that begin before a window and those that end behind it are two runs.
    best = max(starts, key=lambda at: (bisect_right(lasts, at + width) - bisect_left(firsts, at), -at))
    best = min(best, len(text) - width)
    start = text.find(" ", best, best + _BEFORE // 2) + 1 or best if best else 0
    end = start + width
    return start, len(text) if end >= len(text) else max(text.rfind(" ", start, end), start + width // 2)
