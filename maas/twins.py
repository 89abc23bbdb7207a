"""Whether two texts with nearly the same vector may say the same.

Encoders put "I have 2 cats" next to "I have 3 cats", and a statement next to its denial: what tells such texts apart is
a number, a denial or a speaker, and a memory must not be lost over it.
"""

from __future__ import annotations

import re
from collections import Counter

_NUMBER = re.compile(r"\d+(?:[.,:/-]\d+)*")
_NUMBER_WORD = re.compile(
    r"\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|(?:thir|four|fif|six|seven|eigh|nine)teen"
    r"|(?:twen|thir|for|fif|six|seven|eigh|nine)ty|hundred|thousand|million|billion)\b"
)
_DENIAL = re.compile(r"\b(?:no|not|never|none|nobody|nothing|without|nor|neither|cannot|stopped|quit)\b|n['’]t\b")


def may_be_twins(first: str, second: str) -> bool:
    """Equal numbers, and as many denials."""
    return _told(first) == _told(second)


def _told(text: str) -> tuple[Counter[str], int]:
    folded = text.casefold()
    return Counter(_NUMBER.findall(folded) + _NUMBER_WORD.findall(folded)), len(_DENIAL.findall(folded))
