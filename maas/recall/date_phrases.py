"""The English phrases that date something, as patterns: what is a date, and what stands around it."""

from __future__ import annotations

import re

LONGEST_QUESTION = 1_000
"""Characters; what is longer is a text and no question about a time."""

MONTHS = tuple(
    "january february march april may june july august september october november december".split()  # noqa: SIM905
)
MONTH = "(?:" + "|".join(f"{name[:3]}(?:{name[3:]})?" for name in MONTHS) + "|sept)"
YEAR = r"(?:1[6-9]|20)\d\d"
UNIT = "(?:day|week|fortnight|month|year|decade)"
COUNT = (
    r"(?:\d{1,3}|an?|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|"
    r"a\ couple\ of|a\ few|several)"
)
WHICH = "(?:last|this|next|previous|past|that)"
SEASON = "(?:spring|summer|autumn|fall|winter)"

_DAY_NUMBER = r"(?:[0-2]?\d|3[01])(?:st|nd|rd|th)?"
_WEEKDAY = r"(?:mon|tues|wednes|thurs|fri|satur|sun)day"
_PART = r"(?:early|late|mid|the\ (?:start|beginning|middle|end)\ of)[\s-]+"
_NO_OTHER_WORD = "|".join(name.capitalize() for name in MONTHS if name not in ("march", "may"))


def _after(leads: str, what: str) -> str:
    """``what`` behind one of the words ``leads``: alone, 2022 may count something, and "may" is a verb."""
    return "|".join(rf"(?<=\b{lead}\s){what}\b" for lead in leads.split())


# One date, the most telling form first.
_DATE = rf"""(?:
    \d{{4}}-\d\d-\d\d | \d{{4}}-(?:0[1-9]|1[0-2])
  | (?:the\ )?{_DAY_NUMBER}\s+(?:of\s+)?{MONTH}\b\.?(?:,?\s+(?:of\s+)?{YEAR})?
  | {MONTH}\b\.?\s+(?:the\s+)?{_DAY_NUMBER}(?!\d)(?:,?\s+{YEAR})?
  | {MONTH}\b\.?,?\s+(?:of\s+)?{YEAR}
  | (?:the\ )?{WHICH}\s+(?:{MONTH}|{_WEEKDAY}|{SEASON}|{UNIT}|weekend|night)\b
  | the\ day\ before\ yesterday | yesterday | today | tonight | this\ (?:morning|afternoon|evening)
  | {COUNT}\s+{UNIT}s?\s+ago
  | {SEASON}\s+(?:of\s+)?{YEAR}
  | {_after("on", _WEEKDAY)} | {_WEEKDAY}(?=\s+(?:morning|afternoon|evening|night)\b)
  | (?-i:{_NO_OTHER_WORD})\b
  | {_after("in during of since until till before after between and from to early late mid", MONTH)}
  | {_after("in during of since until till before after between and from to early late year", YEAR)}
)"""

PHRASE = re.compile(
    rf"""\b(?:
    between\s+(?P<start>{_DATE})\s+and\s+(?P<end>{_DATE})
  | from\s+(?P<from>{_DATE})\s+(?:to|until|till)\s+(?P<to>{_DATE})
  | (?:in|over|during|within)\s+(?:the\s+)?(?:last|past)\s+(?P<window>{COUNT}\s+{UNIT}s?)\b
  | (?P<count>{COUNT}|the)\s+(?P<unit>{UNIT})s?\s+(?P<side>before|prior\ to|after)\s+(?P<anchor>{_DATE})
  | (?P<open>before|prior\ to|until|till|after|since)\s+(?P<bound>{_DATE})
  | (?:{_PART})?(?P<date>{_DATE})
)(?!\w)""",
    re.IGNORECASE | re.VERBOSE,
)
# Some word or figure without which no phrase matches: sought first, since that is a hundred times as fast.
_HINT = re.compile(
    rf"{YEAR}|days?\b|ago\b|tonight|month|year|week|fortnight|decade|night|this\s(?:morn|after|even)|{SEASON}"
    r"|\b(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)",
    re.IGNORECASE,
)


def mentions_time(question: str) -> bool:
    """Whether it is worth while to look for dates; takes microseconds."""
    return len(question) <= LONGEST_QUESTION and _HINT.search(question) is not None
