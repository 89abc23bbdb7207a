"""Between people, what asks tells little: a turn that is a question is rarely the answer to one.

On LoCoMo, whose people talk to each other, a seventh of what is said asks, and a twentieth of what answers a question.
What somebody asks an assistant says what they want: on BEAM their questions answer as often as all else they say.
"""

from __future__ import annotations

import re

from maas.recall.analysis import document_terms

# The odds of a turn that does nothing but ask are multiplied by this. docs/recall.md says how it was chosen.
ODDS = 0.3
_MARKS = ("?", "？", "؟")
_SENTENCE_END = re.compile(r"""(?<=[.!?])["'”’)\]]*\s+|(?<=[。！？؟])|\n+""")
_CLOSING = "\"'”’)]」』!. "
# "What did I ask the doctor?" wants what asks.
_ABOUT_ASKING = frozenset({"ask", "question", "wonder"})


def asked_share(text: str) -> float:
    """Share in 0..1 of the characters of ``text`` that stand in sentences which a question mark ends."""
    if not any(mark in text for mark in _MARKS):
        return 0.0
    asked = told = 0
    for sentence in map(str.strip, _SENTENCE_END.split(text)):
        if sentence.rstrip(_CLOSING).endswith(_MARKS):
            asked += len(sentence)
        else:
            told += len(sentence)
    return asked / (asked + told)


def about_asking(question: str) -> bool:
    """Whether what is asked for is itself a question."""
    return not _ABOUT_ASKING.isdisjoint(document_terms(question))
