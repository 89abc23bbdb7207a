"""Texts to store: deterministic, all different, of the length people write."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from pathlib import Path

from maas.demo.tour import shipped_conversation
from maas.errors import InvalidInputError
from maas.evaluation.dataset import json_lines

PEOPLE = ("Ana", "Bela", "Chidi", "Dov", "Elif", "Femi", "Greta", "Hugo", "Ines", "Jun", "Kofi", "Lena", "Mika", "Noor")
PLACES = ("Oslo", "Lima", "Kyoto", "Ghent", "Tunis", "Quito", "Perth", "Turin", "Bergen", "Accra", "Leeds", "Hanoi")
THINGS = ("kettle", "bicycle", "atlas", "violin", "tent", "lamp", "camera", "kayak", "sewing machine", "telescope")
DOINGS = ("bought", "sold", "lost", "found", "repaired", "borrowed", "painted", "returned", "wrapped", "photographed")
MONTHS = ("January", "March", "April", "June", "July", "September", "October", "December")


def generated_texts(seed: int = 0) -> Iterator[str]:
    """An endless run of texts: turns of the shipped conversation, each with a fact of its own."""
    turns = [turn.text for turn in shipped_conversation().turns]
    random_ = random.Random(seed)  # noqa: S311 - texts, not secrets
    for number in itertools.count():
        yield f"{turns[number % len(turns)]} {_fact(random_, number)}"


def questions(count: int, seed: int = 0) -> list[str]:
    """Questions about the facts of :func:`generated_texts`, of a seed of their own."""
    random_ = random.Random(f"questions {seed}")  # noqa: S311 - texts, not secrets
    return [
        f"Who {random_.choice(DOINGS)} a {random_.choice(THINGS)} in {random_.choice(PLACES)} "
        f"in {random_.choice(MONTHS)}?"
        for _ in range(count)
    ]


def take_texts(count: int, docs: Path | None = None, seed: int = 0) -> list[str]:
    """``count`` different texts: of the ``text`` fields of ``docs`` (JSONL, may be gzipped), else generated.

    Raises:
        InvalidInputError: ``docs`` holds too few.
    """
    if docs is None:
        return list(itertools.islice(generated_texts(seed), count))
    texts = list(itertools.islice(dict.fromkeys(_read(docs)), count))
    if len(texts) < count:
        raise InvalidInputError(f"{docs} holds {len(texts)} different texts, {count} are needed; ask for fewer")
    return texts


def _fact(random_: random.Random, number: int) -> str:
    return (
        f"{random_.choice(PEOPLE)} {random_.choice(DOINGS)} a {random_.choice(THINGS)} in {random_.choice(PLACES)} "
        f"on {random_.randint(1, 28)} {random_.choice(MONTHS)}, receipt {number}."
    )


def _read(path: Path) -> Iterator[str]:
    for where, row in json_lines(path):
        if "text" not in row:
            raise InvalidInputError(f"{where} is no JSON object with a text")
        text = row["text"]
        if isinstance(text, str) and text.strip():
            yield text
