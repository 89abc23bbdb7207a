"""When a question is about: dates and relative dates in English, as periods of the memory's own time.

A cheap pattern finds the phrases, so that a question without one costs microseconds; dateparser reads them.

    in 2022 · May 2023 · last May · on 7 May · summer of 2022 · 2023-05-07
    yesterday · last week · three weeks ago · in the last ten days · on Monday
    two weeks before 7 May · before 2022 · since last March · between May and July 2023
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from typing import Any

from dateutil.relativedelta import relativedelta

from maas.recall.date_phrases import COUNT, MONTH, MONTHS, PHRASE, UNIT, WHICH, YEAR, mentions_time
from maas.records import NamedPeriod

MAX_PERIODS = 4

_LONG_PAST = timedelta(days=30)
_DAY = timedelta(days=1)
_FIRST = datetime(1, 1, 1, tzinfo=UTC)
_WORD_COUNTS = {
    word: number
    for number, words in enumerate(
        ["", "a an one", "two", "three few", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
    )
    for word in words.split()
} | {"a couple of": 2, "a few": 3, "several": 4, "the": 1}
_SEASON_MONTHS = {"spring": 3, "summer": 6, "autumn": 9, "fall": 9, "winter": 12}


def periods_in(question: str, now: datetime) -> tuple[NamedPeriod, ...]:
    """The times that ``question`` names, relative ones counted from ``now``.

    A date that does not exist (30 February 2023) stands for its month; what cannot be read is passed over.
    """
    if not mentions_time(question):
        return ()
    found = []
    for match in PHRASE.finditer(question):
        try:
            period = _read(match, now)
        except (OverflowError, ValueError, LookupError):  # before year 1, after year 9999, or a ſix
            continue
        if period is not None:
            found.append(period)
    return tuple(found[:MAX_PERIODS])


def asked_at(latest: datetime | None, now: datetime) -> datetime:
    """What "yesterday" is counted from: now, or the user's latest memory where the conversation is long past.

    Whoever reads in an old conversation means its days; whoever comes back after a week means today's.
    """
    return now if latest is None or now - latest < _LONG_PAST else latest


def _read(match: re.Match[str], now: datetime) -> NamedPeriod | None:
    part = match.groupdict()
    span: tuple[datetime, datetime] | None
    if part["window"]:
        *count, unit = part["window"].lower().split()
        span = now - _length(" ".join(count), unit), now + _DAY
    elif part["date"]:
        span = _span(part["date"], now)
    elif part["anchor"]:
        span = _shifted(part, now)
    elif part["bound"]:
        span = _open_ended(part["open"].lower(), _span(part["bound"], now), now)
    else:
        first, last = part["start"] or part["from"], part["end"] or part["to"]
        span = _between(_span(_with_year(first, last), now), _span(last, now))
    if span is None or span[0] >= span[1]:
        return None
    return NamedPeriod(phrase=" ".join(match.group().split()), start=span[0], end=span[1])


def _between(
    first: tuple[datetime, datetime] | None, last: tuple[datetime, datetime] | None
) -> tuple[datetime, datetime] | None:
    return None if first is None or last is None else (min(first[0], last[0]), max(first[1], last[1]))


def _with_year(first: str, last: str) -> str:
    """In "between May and July 2023" the year belongs to both."""
    year = re.search(YEAR, last)
    return f"{first} {year.group()}" if year and not re.search(rf"{YEAR}|{WHICH}|ago", first) else first


def _shifted(part: dict[str, str], now: datetime) -> tuple[datetime, datetime] | None:
    anchor = _span(part["anchor"], now)
    if anchor is None:
        return None
    length = _length(part["count"].lower(), part["unit"].lower())
    before = part["side"].lower() != "after"
    start, end = (side - length if before else side + length for side in anchor)
    if part["count"].lower() == "the" and part["unit"].lower() != "day":  # "the week before": all of it
        return (anchor[0] - length, anchor[0]) if before else (anchor[1], anchor[1] + length)
    return start, end


def _open_ended(word: str, bound: tuple[datetime, datetime] | None, now: datetime) -> tuple[datetime, datetime] | None:
    if bound is None:
        return None
    if word == "since":
        return bound[0], max(now + _DAY, bound[1])
    if word == "after":
        return bound[1], max(now + _DAY, bound[1] + _DAY)
    return _FIRST, bound[1] if word in ("until", "till") else bound[0]


def _span(phrase: str, now: datetime) -> tuple[datetime, datetime] | None:
    """One date's day, week, month, season or year."""
    words = " ".join(re.sub(r"\bthe\b|(?<!couple )\bof\b|[.,]", " ", phrase.lower()).split())
    words = re.sub(r"^(?:previous|past|that)\b", "last", words)
    which, _, rest = words.partition(" ")
    if which in ("last", "this", "next"):
        if rest[:3] in {name[:3] for name in MONTHS} and not rest.startswith("mon"):
            return _named_month(which, rest, now)
        if rest in _SEASON_MONTHS:
            return _season(rest, now, which)
        if rest == "weekend":
            monday = _midnight(now) - now.weekday() * _DAY
            start = monday + {"last": -2, "this": 5, "next": 12}[which] * _DAY
            return start, start + 2 * _DAY
        if rest in ("decade", "fortnight"):
            length = _length("one", rest)
            return (now, now + length) if which == "next" else (now - length, now + _DAY)
    if which in _SEASON_MONTHS:
        return _season(which, datetime(int(words[-4:]), 12, 31, tzinfo=UTC), "this")
    if ago := re.fullmatch(rf"({COUNT}) ({UNIT})s? ago", words):
        at = now - _length(ago[1], ago[2])
        return _around(at, "year" if ago[2] == "decade" else "week" if ago[2] == "fortnight" else ago[2])
    return _parsed(words, _midnight(now))


@lru_cache(maxsize=4096)
def _parsed(words: str, day: datetime) -> tuple[datetime, datetime] | None:
    """What dateparser makes of the words on this ``day``: it takes a millisecond, and people say the same few."""
    data = _parser().get(words, day)
    if data is None and (
        month := re.search(rf"{MONTH}\b(?: {YEAR})?", re.sub(r"\b\d{1,2}(?:st|nd|rd|th)?\b ?", "", words))
    ):
        data = _parser().get(month.group(), day)
    if data is None and (month := re.fullmatch(r"(\d{4}-\d\d)-\d\d", words)):
        data = _parser().get(month[1], day)
    return None if data is None else _around(*data)


def _around(at: datetime, unit: str) -> tuple[datetime, datetime]:
    start = _midnight(at)
    match unit:
        case "year":
            start = start.replace(month=1, day=1)
            return start, start + relativedelta(years=1)
        case "month":
            start = start.replace(day=1)
            return start, start + relativedelta(months=1)
        case "week":
            start -= start.weekday() * _DAY
            return start, start + 7 * _DAY
        case _:
            return start, start + _DAY


def _named_month(which: str, name: str, now: datetime) -> tuple[datetime, datetime]:
    month = [long[:3] for long in MONTHS].index(name[:3]) + 1
    years = {"last": -1 if month >= now.month else 0, "this": 0, "next": 1 if month <= now.month else 0}[which]
    return _around(datetime(now.year + years, month, 1, tzinfo=UTC), "month")


def _season(name: str, now: datetime, which: str) -> tuple[datetime, datetime]:
    """Three months, by the northern calendar; the last one has ended, the next one has not begun.

    In January this winter is the one that began in December.
    """
    start = datetime(now.year, _SEASON_MONTHS[name], 1, tzinfo=UTC)
    length = relativedelta(months=3)
    if which == "this" and start - relativedelta(years=1) + length > now:
        start -= relativedelta(years=1)
    while which == "last" and start + length > now:
        start -= relativedelta(years=1)
    if which == "next" and start <= now:
        start += relativedelta(years=1)
    return start, start + length


def _length(count: str, unit: str) -> relativedelta:
    unit = unit.rstrip("s")
    number = int(count) if count.isdigit() else _WORD_COUNTS[count]
    if unit in ("fortnight", "decade"):
        unit, number = {"fortnight": ("week", 2 * number), "decade": ("year", 10 * number)}[unit]
    match unit:
        case "day":
            return relativedelta(days=number)
        case "week":
            return relativedelta(weeks=number)
        case "month":
            return relativedelta(months=number)
        case _:
            return relativedelta(years=number)


def _midnight(at: datetime) -> datetime:
    return at.replace(hour=0, minute=0, second=0, microsecond=0)


class _Parser:
    """dateparser, told the language, and the past rather than the future where a question leaves it open."""

    def __init__(self) -> None:
        from dateparser.conf import Settings
        from dateparser.date import DateDataParser

        self._make: Any = DateDataParser
        self._settings: Any = Settings

    def get(self, words: str, now: datetime) -> tuple[datetime, str] | None:
        """A moment and the unit it was named by."""
        wishes = {
            "RELATIVE_BASE": now.replace(tzinfo=None),
            "PREFER_DATES_FROM": "future" if words.startswith("next") else "past",
            "PREFER_DAY_OF_MONTH": "first",
            "DATE_ORDER": "DMY",
        }
        data = self._make(languages=["en"], settings=wishes).get_date_data(words)
        return None if data.date_obj is None else (data.date_obj.replace(tzinfo=UTC), data.period)


@cache
def _parser() -> _Parser:
    return _Parser()
