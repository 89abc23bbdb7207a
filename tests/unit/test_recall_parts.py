"""The pure parts of recall: analysis, BM25, fusion."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from maas.recall.analysis import MAX_TERM_LENGTH, document_terms, query_terms
from maas.recall.diversity import diversified
from maas.recall.fusion import CURVES, cosines
from maas.recall.lexical import AFTER, BEFORE, K1, B, Posting, bm25, highest
from maas.storage.turn_table import TurnGroup, Turns, TurnTable
from tests.dense_bm25 import dense_bm25


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Running, runs; RAN", ["run", "run", "ran"]),
        ("Caroline's naïve Café", ["carolin", "naiv", "cafe"]),
        ("don't", ["dont"]),
        ("snake_case e-mail 3.5", ["snake", "case", "e", "mail", "3", "5"]),
        ("日本語", ["日", "本", "語", "日本", "本語"]),
        ("ＡＢＣ １２", ["abc", "12"]),
        ("Straße", ["strass"]),
        ("हिन्दी", ["हिन्दी"]),
        ("🎉", ["🎉"]),
        ("", []),
    ],
)
def test_document_terms(text: str, terms: list[str]) -> None:
    assert document_terms(text) == terms


def test_stop_words_are_dropped_unless_nothing_else_is_said() -> None:
    assert query_terms("what is the weather in the Alps") == ["weather", "alp"]
    assert query_terms("who are you") == ["who", "are", "you"]
    assert query_terms("猫") == ["猫"]
    assert query_terms("日本語") == ["日本", "本語"]


@given(st.text())
@example("日'本'")
def test_terms_fit_the_index(text: str) -> None:
    for term in document_terms(text):
        assert 0 < len(term) <= MAX_TERM_LENGTH
        assert not any(c.isspace() or (c.isascii() and not c.isalnum()) for c in term)
        assert not any("A" <= c <= "Z" for c in term)
    assert set(query_terms(text)) <= set(document_terms(text))


turns = st.lists(
    st.tuples(
        st.lists(st.sampled_from("abcd"), min_size=1, max_size=6),
        st.sampled_from([None, "x", "y", "z"]),
        st.integers(0, 3),
    ),
    min_size=1,
    max_size=10,
)


class TurnRow(NamedTuple):
    seq: int
    terms: int
    session: str | None
    at: int
    name: str | None
    role: str | None


def columns(rows: Iterable[TurnRow]) -> Turns:
    """As the database gives rows: columns in any order, and a list of rows for each session, name and role."""
    rows = list(rows)
    told: dict[tuple[str | None, str | None, str | None], list[str]] = {}
    for row in rows:
        if (row.session, row.name, row.role) != (None, None, None):
            told.setdefault((row.session, row.name, row.role), []).append(str(row.seq))
    seqs, terms, at = (np.array([getattr(row, name) for row in rows], np.int64) for name in ("seq", "terms", "at"))
    return Turns(seqs, terms, at, [TurnGroup(*by, ",".join(listed)) for by, listed in told.items()])


def table_of(rows: list[tuple[list[str], str | None, int]]) -> TurnTable:
    table = TurnTable()
    listed = [TurnRow(seq, len(words), session, at, None, None) for seq, (words, session, at) in enumerate(rows, 1)]
    table.sync(1, 0, lambda: np.empty(0, np.int64), lambda _since: columns(listed))
    return table


def occurrences(rows: list[tuple[list[str], str | None, int]], term: str) -> NDArray[np.int64]:
    return np.array([i for i, (words, _, _) in enumerate(rows) for word in words if word == term], np.int64)


queries = st.lists(st.sampled_from("abcde"), min_size=1, max_size=4, unique=True)


@given(turns, queries)
def test_bm25_equals_its_twin(rows: list[tuple[list[str], str | None, int]], query: list[str]) -> None:
    """Bit for bit, the twin that walks over every memory for every term."""
    layout = table_of(rows).layout()
    listed = [occurrences(rows, term) for term in query]
    evidence = bm25([Posting.of(places) for places in listed], layout)
    own, turn, session, weights = dense_bm25(listed, layout)
    shares = evidence.at(np.arange(len(rows)))
    assert shares.own.tolist() == own.tolist()
    assert shares.turn.tolist() == turn.tolist()
    assert shares.session.tolist() == session.tolist()
    assert evidence.weights == weights
    assert evidence.touched.tolist() == np.flatnonzero(turn).tolist()


@given(turns, queries)
def test_bm25_equals_the_formula(rows: list[tuple[list[str], str | None, int]], query: list[str]) -> None:
    """Turn by turn and word by word: each field's frequency over its own length norm, the sum saturated once."""
    layout = table_of(rows).layout()
    evidence = bm25([Posting.of(occurrences(rows, term)) for term in query], layout)
    shares = evidence.at(np.arange(len(rows)))

    def norm(length: int, lengths: list[int]) -> float:
        return 1 - B + B * length / (sum(lengths) / len(lengths))

    def idf(documents: int, holders: int) -> float:
        return math.log(1 + (documents - holders + 0.5) / (holders + 0.5))

    lengths = [len(words) for words, _, _ in rows]
    sessions = {s: [w for words, of, _ in rows if of == s for w in words] for _, s, _ in rows if s is not None}
    session_lengths = [len(words) for words in sessions.values()]
    ceiling = sum(idf(len(rows), sum(term in words for words, _, _ in rows)) for term in query)
    for i, (_, session, _) in enumerate(rows):
        ordered = sorted((at, j) for j, (_, s, at) in enumerate(rows) if s == session and session is not None)
        position = [j for _, j in ordered].index(i) if session is not None else 0
        fields = [(1.0, i)]
        if position > 0:
            fields.append((BEFORE, ordered[position - 1][1]))
        if position + 1 < len(ordered):
            fields.append((AFTER, ordered[position + 1][1]))
        turn = own = of_session = 0.0
        for term in query:
            field = sum(w * rows[j][0].count(term) / norm(lengths[j], lengths) for w, j in fields)
            alone = rows[i][0].count(term) / norm(lengths[i], lengths)
            own += idf(len(rows), sum(term in words for words, _, _ in rows)) * alone / (alone + K1)
            turn += idf(len(rows), sum(term in words for words, _, _ in rows)) * field / (field + K1)
            if session is not None and len(sessions) > 1:
                held = sessions[session].count(term) / norm(len(sessions[session]), session_lengths)
                holders = sum(term in words for words in sessions.values())
                of_session += idf(len(sessions), holders) * held / (held + K1)
        assert shares.own[i] == pytest.approx(own / ceiling)
        assert shares.turn[i] == pytest.approx(turn / ceiling)
        assert shares.session[i] == pytest.approx(min(1, of_session / ceiling))
    assert ((shares.combined >= 0) & (shares.combined < 1)).all()


@given(st.lists(st.integers(0, 5), max_size=30), st.integers(1, 10))
def test_the_highest_are_those_and_what_ties_with_the_last(drawn: list[int], k: int) -> None:
    scores = np.array(drawn, np.float64)
    least = sorted(drawn, reverse=True)[:k][-1] if drawn else 0
    assert highest(scores, k).tolist() == [i for i, score in enumerate(drawn) if score >= least]


@given(turns, st.data())
def test_a_table_that_caught_up_in_steps_equals_one_read_at_once(
    rows: list[tuple[list[str], str | None, int]], data: st.DataObject
) -> None:
    """Rows arrive in any order of time, change their session, and go."""
    stepwise, kept, revision, reset = TurnTable(), {}, 0, 0
    for seq, (words, session, at) in enumerate(rows, 1):
        revision += 1
        changed = {seq: TurnRow(seq, len(words), session, at, session, "assistant" if at else "user")}
        if kept and data.draw(st.booleans()):
            other = data.draw(st.sampled_from(sorted(kept)))
            changed[other] = kept[other]._replace(session=data.draw(st.sampled_from([None, "x"])), terms=9)
        kept |= changed
        if data.draw(st.booleans()):
            del kept[data.draw(st.sampled_from(sorted(kept)))]
            reset = revision
        fresh = [row for number, row in changed.items() if number in kept]
        present = np.array(sorted(kept), np.int64)
        stepwise.sync(revision, reset, lambda present=present: present, lambda _since, rows=fresh: columns(rows))
    at_once = TurnTable()
    at_once.sync(revision, 0, lambda: np.empty(0, np.int64), lambda _since: columns(kept.values()))
    mine, theirs = stepwise.layout(), at_once.layout()
    for name in ("seqs", "lengths", "before", "after", "assistant", "between_people"):
        assert getattr(mine, name).tolist() == getattr(theirs, name).tolist(), name
    for layout in (mine, theirs):
        assert [layout.speakers[s] if s >= 0 else None for s in layout.speaker] == [
            kept[seq].name for seq in sorted(kept)
        ]
        assert layout.session_lengths.sum() == sum(row.terms for row in kept.values() if row.session is not None)


said = st.tuples(
    st.sampled_from([None, "x", "y"]), st.sampled_from([None, "Ann", "Bob"]), st.sampled_from(["user", "assistant"])
)


@given(st.lists(said, max_size=8))
def test_people_speak_to_each_other_where_two_have_names_and_no_assistant_speaks(
    drawn: list[tuple[str | None, str | None, str]],
) -> None:
    table = TurnTable()
    rows = [TurnRow(seq, 1, session, -seq, name, role) for seq, (session, name, role) in enumerate(drawn, 1)]
    table.sync(1, 0, lambda: np.empty(0, np.int64), lambda _since: columns(rows))
    of_session = {session: [row for row in rows if row.session == session] for session in ("x", "y")}
    people = {
        session: len({row.name for row in own} - {None}) > 1 and all(row.role == "user" for row in own)
        for session, own in of_session.items()
    }
    assert table.layout().between_people.tolist() == [people.get(row.session or "", False) for row in rows]


def test_scores_are_probabilities_and_their_parts_add_up() -> None:
    assert cosines(np.array([-1, 0.5, 1.01, np.nan])).tolist() == [0, 0.5, 1, 0]
    for curve in CURVES.values():
        scores = curve.probabilities(np.array([0.0, 0.3, 0.6, 1.5]), curve.topic)
        assert (np.diff(scores) > 0).all()
        assert scores[0] < 0.05
        assert scores[-1] > 0.95
        total = sum(curve.contributions({"lexical": 0.2, "dense": 0.1}, 0.2).values())
        assert 1 / (1 + math.exp(-total)) == pytest.approx(curve.probabilities(np.array([0.3]), 0.2)[0])


def test_what_the_topic_earns_is_the_mean_of_the_11th_to_the_30th() -> None:
    curve = CURVES["hybrid"]
    evidence = np.array([0.9] * 10 + [0.5] * 20 + [0.1] * 70)
    assert curve.background(evidence, 100) == pytest.approx(0.5)
    assert curve.background(evidence[:20], 20) == pytest.approx((0.5 + curve.topic) / 2), "10 shown, 10 presumed"
    assert curve.background(evidence[:3], 3) == curve.topic
    assert curve.background(evidence[:3], 1000) == 0, "the others were looked at, and said nothing"


def test_mmr_prefers_what_is_unlike_the_memories_before() -> None:
    scores = np.array([0.9, 0.89, 0.6, 0.1])
    vectors = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0]], np.float32)
    assert diversified(scores, vectors, 4, 1.0) == [0, 1, 2, 3]
    assert diversified(scores, vectors, 4, 0.7) == [0, 2, 1, 3]
    assert diversified(scores, vectors, 2, 0.3) == [0, 2]
    assert diversified(scores[:0], vectors[:0], 3, 0.5) == []
