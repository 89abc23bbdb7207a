"""A landscape as a drawing: a dot for each memory, coloured by its age, and the words that mark a region."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from maas.recall.analysis import WORD, document_terms, query_terms
from maas.records import Landscape, Memory

WIDTH, HEIGHT, MARGIN = 1000.0, 620.0, 36.0
AGES = 5
_COLUMNS, _ROWS = 5, 4
_LEAST = 3  # memories that make a region
_SHARE = 0.3  # of them that must share a word for it to name the region
_LETTER = 9.5  # wide, about
_LINE = 24.0


@dataclass(frozen=True, slots=True)
class Dot:
    x: float
    y: float
    age: int
    memory: Memory


@dataclass(frozen=True, slots=True)
class Label:
    x: float
    y: float
    text: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """``ages``: the first and last day of each colour that is used, the oldest first."""

    dots: list[Dot]
    labels: list[Label]
    ages: list[tuple[int, str, str]]
    width: float = WIDTH
    height: float = HEIGHT


def draw(landscape: Landscape) -> Drawing:
    """Dots lie where the memories do, stretched to the drawing; each colour has about as many memories."""
    places = landscape.places
    if not places:
        return Drawing([], [], [])
    xs, ys = _stretched([p.x for p in places], WIDTH), _stretched([-p.y for p in places], HEIGHT)
    order = sorted(range(len(places)), key=lambda i: places[i].memory.created_at)
    age = {place: rank * AGES // len(order) for rank, place in enumerate(order)}
    dots = [Dot(x, y, age[i], places[i].memory) for i, (x, y) in enumerate(zip(xs, ys, strict=True))]
    return Drawing(dots, _labels(dots), _ages(dots))


def _stretched(values: Sequence[float], size: float) -> list[float]:
    low, high = min(values), max(values)
    if high - low < 1e-9:
        return [size / 2] * len(values)
    return [round(MARGIN + (value - low) / (high - low) * (size - 2 * MARGIN), 1) for value in values]


def _ages(dots: Sequence[Dot]) -> list[tuple[int, str, str]]:
    days = defaultdict(list)
    for dot in dots:
        days[dot.age].append(dot.memory.created_at.date())
    return [(age, min(found).isoformat(), max(found).isoformat()) for age, found in sorted(days.items())]


def _labels(dots: Sequence[Dot]) -> list[Label]:
    """In each part of the drawing, the word that its memories share and the others do not, by tf-idf."""
    words = {id(dot): _telling(dot.memory.text) for dot in dots}
    spread = Counter(term for found in words.values() for term in found)
    parts: dict[tuple[int, int], list[Dot]] = defaultdict(list)
    for dot in dots:
        parts[int(dot.x / WIDTH * _COLUMNS), int(dot.y / HEIGHT * _ROWS)].append(dot)
    labels: list[Label] = []
    named: set[str] = set()
    for inside in sorted(parts.values(), key=len, reverse=True):
        here = Counter(term for dot in inside for term in words[id(dot)])
        shared = {term: n for term, n in here.items() if n >= max(2, _SHARE * len(inside)) and term not in named}
        if len(inside) < _LEAST or not shared:
            continue
        best = max(shared, key=lambda term: (shared[term] * math.log(1 + len(dots) / spread[term]), term))
        holding = [dot for dot in inside if best in words[id(dot)]]
        text = Counter(words[id(dot)][best] for dot in holding).most_common(1)[0][0]
        half = len(text) * _LETTER / 2
        x = sum(dot.x for dot in holding) / len(holding)
        label = Label(round(min(max(x, half), WIDTH - half), 1), round(min(d.y for d in holding) - 12, 1), text)
        if not any(_overlap(label, other) for other in labels):
            labels.append(label)
            named.add(best)
    return labels


def _telling(text: str) -> dict[str, str]:
    """Its terms that are no stop words, and a word each stands for."""
    terms: dict[str, str] = {}
    for word in WORD.findall(text[:2_000]):
        stems = document_terms(word)
        if len(stems) == 1 and len(word) > 3 and not word.isdigit() and _says_something(word):
            terms.setdefault(stems[0], word.lower())
    return terms


def _says_something(word: str) -> bool:
    """A stop word is kept by ``query_terms`` only where it stands alone."""
    return len(query_terms(f"{word} zyx")) == 2


def _overlap(a: Label, b: Label) -> bool:
    wide = (len(a.text) + len(b.text)) * _LETTER / 2
    return abs(a.x - b.x) < wide and abs(a.y - b.y) < _LINE
