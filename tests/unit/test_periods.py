"""Dates in questions, against a reference."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maas.recall.date_phrases import LONGEST_QUESTION, mentions_time
from maas.recall.periods import asked_at, periods_in

NOW = datetime(2023, 7, 15, 14, 0, tzinfo=UTC)  # a Saturday


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Where was I in 2022?", "2022-01-01 2023-01-01"),
        ("What did I do last May?", "2023-05-01 2023-06-01"),
        ("what happened last december", "2022-12-01 2023-01-01"),
        ("What did Ann say in late June?", "2023-06-01 2023-07-01"),
        ("What did I eat on 7 May?", "2023-05-07 2023-05-08"),
        ("Who came on the 5th of May, 2021?", "2021-05-05 2021-05-06"),
        ("Who came on May 5th, 2022?", "2022-05-05 2022-05-06"),
        ("What is 2023-05-07 to me?", "2023-05-07 2023-05-08"),
        ("Sept 2022", "2022-09-01 2022-10-01"),
        ("the summer of 2022", "2022-06-01 2022-09-01"),
        ("last summer", "2022-06-01 2022-09-01"),
        ("next winter", "2023-12-01 2024-03-01"),
        ("What happened yesterday?", "2023-07-14 2023-07-15"),
        ("the day before yesterday", "2023-07-13 2023-07-14"),
        ("today", "2023-07-15 2023-07-16"),
        ("last week", "2023-07-03 2023-07-10"),
        ("last weekend", "2023-07-08 2023-07-10"),
        ("last year", "2022-01-01 2023-01-01"),
        ("Whom did I see on Monday?", "2023-07-10 2023-07-11"),
        ("three weeks ago", "2023-06-19 2023-06-26"),
        ("a couple of months ago", "2023-05-01 2023-06-01"),
        ("in the last ten days", "2023-07-05 2023-07-16"),
        ("two weeks before 7 May 2023", "2023-04-23 2023-04-24"),
        ("the week before 3 June", "2023-05-27 2023-06-03"),
        ("the day after 7 May", "2023-05-08 2023-05-09"),
        ("before 2022", "0001-01-01 2022-01-01"),
        ("since last March", "2023-03-01 2023-07-16"),
        ("after May 2023", "2023-06-01 2023-07-16"),
        ("between May and July 2022", "2022-05-01 2022-08-01"),
        ("from May 2022 to June 2022", "2022-05-01 2022-07-01"),
        ("in June and July", "2023-06-01 2023-07-01; 2023-07-01 2023-08-01"),
    ],
)
def test_a_phrase_is_a_period(question: str, expected: str) -> None:
    found = "; ".join(
        f"{p.start:%Y-%m-%d} {p.end:%Y-%m-%d}".replace("1-01-01 ", "0001-01-01 ", p.start.year == 1)
        for p in periods_in(question, NOW)
    )
    assert found == expected


@pytest.mark.parametrize(
    "question",
    [
        "Is the red door open?",
        "What may I eat?",
        "I march on, but will Augustus?",
        "I counted 2022 sheep in 1 dream",
        "the week before Christmas",
        "What is my second name?",
        "May I?",
        "on 45 May",
        "9" * 50 + " years ago",
        "in 9999-99",
    ],
)
def test_no_phrase_is_no_period(question: str) -> None:
    assert periods_in(question, NOW) == ()


@pytest.mark.parametrize("question", ["on 30 February 2023", "on February 30, 2023", "2023-02-31"])
def test_a_date_that_does_not_exist_stands_for_its_month(question: str) -> None:
    (period,) = periods_in(question, NOW)
    assert (f"{period.start:%Y-%m-%d}", f"{period.end:%Y-%m-%d}") == ("2023-02-01", "2023-03-01")


def test_times_beyond_the_calendar_are_passed_over() -> None:
    early = datetime(1, 2, 1, tzinfo=UTC)
    assert periods_in("999 years ago and last year", early) == ()
    assert periods_in("next year, next month", datetime(9999, 12, 31, tzinfo=UTC)) == ()


def test_a_text_is_no_question_about_a_time() -> None:
    assert mentions_time("yesterday")
    assert not mentions_time("yesterday " * LONGEST_QUESTION)


@given(st.text(max_size=200), st.datetimes(timezones=st.just(UTC)))
def test_nothing_raises_and_every_period_has_a_length(question: str, now: datetime) -> None:
    assert all(period.start < period.end for period in periods_in(question, now))


WORDS = (
    "in on last next the two weeks week before after since between and May march 2022 5 31 30 February yesterday ago "
    "summer of day years 99 until late a couple few Monday , -"
)


@given(st.lists(st.sampled_from(WORDS.split()), max_size=12).map(" ".join), st.datetimes(timezones=st.just(UTC)))
def test_any_mixture_of_time_words_is_read_or_passed_over(question: str, now: datetime) -> None:
    assert all(period.start < period.end for period in periods_in(question, now))


def test_relative_dates_count_from_the_conversation_where_it_is_long_past() -> None:
    assert asked_at(None, NOW) == NOW
    assert asked_at(NOW - timedelta(days=3), NOW) == NOW
    assert asked_at(NOW - timedelta(days=300), NOW) == NOW - timedelta(days=300)


def test_winters_asked_for_in_winter() -> None:
    asked = datetime(2025, 2, 15, tzinfo=UTC)
    expected = {
        "last winter": "2023-12-01 2024-03-01",
        "this winter": "2024-12-01 2025-03-01",
        "next winter": "2025-12-01 2026-03-01",
    }
    for question, period in expected.items():
        (found,) = periods_in(question, asked)
        assert f"{found.start:%Y-%m-%d} {found.end:%Y-%m-%d}" == period, question


@pytest.mark.parametrize("question", ["in the last ſix weeks", "what happened in the last FİVE weeks"])
def test_letters_that_fold_to_a_number_word_are_passed_over(question: str) -> None:
    assert periods_in(question, NOW) == ()
