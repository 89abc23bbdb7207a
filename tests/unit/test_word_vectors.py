"""Words as PostgreSQL receives them, against the twin that packs one after the other."""

from __future__ import annotations

import struct
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects import postgresql

from maas.recall.analysis import document_terms
from maas.storage.tables import MAX_POSITIONS, WordVector

terms = st.lists(st.text("abé日'", min_size=1, max_size=3), max_size=60)


def one_by_one(number: int, terms: list[str]) -> dict[bytes, list[int]]:
    counted = Counter(terms).items()
    return {f"{number}_{term}".encode(): list(range(1, min(count, MAX_POSITIONS) + 1)) for term, count in counted}


def unpacked(packed: bytes) -> dict[bytes, list[int]]:
    (count,) = struct.unpack_from(">i", packed)
    found, place = {}, 4
    for _ in range(count):
        end = packed.index(b"\0", place)
        (positions,) = struct.unpack_from(">H", packed, end + 1)
        found[packed[place:end]] = list(struct.unpack_from(f">{positions}H", packed, end + 3))
        place = end + 3 + 2 * positions
    assert place == len(packed)
    return found


@given(number=st.integers(1, 10**12), terms=terms, often=st.integers(0, 300))
def test_each_word_stands_there_once_with_its_positions(number: int, terms: list[str], often: int) -> None:
    terms = terms + ["often"] * often
    packed = WordVector().process_bind_param((number, terms), postgresql.dialect())
    assert packed is not None
    assert unpacked(packed) == one_by_one(number, terms)


@given(text=st.text("abcdefghilmnorstuy059 ", max_size=40))
def test_words_without_apostrophes_are_read_as_those_beside_one(text: str) -> None:
    assert document_terms(f"{text} it's")[:-1] == document_terms(text)
