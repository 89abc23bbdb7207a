"""Text to index terms, the same way for memories and for questions.

NFKC, case folding, accents off, words split at anything that is neither letter, digit nor mark, English stems
(Porter's second stemmer). Scripts written without spaces give single characters and pairs of neighbours.
"""

from __future__ import annotations

import re
import threading
import unicodedata
from collections.abc import Iterator

import Stemmer

MAX_TERM_LENGTH = 64

# Combining marks belong to the word in Hebrew, Arabic, Indic and South-East Asian scripts; \w leaves them out.
_MARKS = (
    "\u0591-\u05bd\u05bf\u05c1-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u0900-\u0963\u0966-\u0dff\u0e31-\u0e4e"
    "\u0eb1-\u0ece\u0f71-\u0f84\u102b-\u103e\u17b4-\u17d3"
)
WORD = re.compile(rf"(?:[^\W_]|[{_MARKS}])+(?:['’](?:[^\W_]|[{_MARKS}])+)*|[\u2600-\u27bf\U0001f300-\U0001faff]")
_ACCENTS = re.compile("[\u0300-\u036f]")
# Thai to Khmer, kana, ideographs and hangul: no space stands between their words.
UNSPACED_SIGNS = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
    "\uf900-\ufaff\U00020000-\U0003ffff"
)
UNSPACED = re.compile(f"[{UNSPACED_SIGNS}]+")

_STOP_WORDS = frozenset(
    """a about am an and any are as at be because been being but by can could did do does doing down during each few for
    from further had has have having he her here hers herself him himself his how i if in into is it its itself just me
    more most my myself no nor not of off on once only or other our ours ourselves out over own same she should so some
    such than that the their theirs them themselves then there these they this those through to too under until up very
    was we were what when where which while who whom why will with would you your yours yourself yourselves
    im ive id ill youre youve youd youll hes shes theyre theyve weve were dont doesnt didnt isnt arent wasnt werent
    cant couldnt wont wouldnt shouldnt havent hasnt hadnt lets thats whats whos heres theres""".split()  # noqa: SIM905
)

_local = threading.local()


def document_terms(text: str) -> list[str]:
    """Terms of a memory, in order, with repetitions."""
    words = _words(text)
    if text.isascii():
        return _stems(words)
    return [term for word in words for term in _terms(word, pairs_only=False)]


def query_terms(text: str) -> list[str]:
    """Distinct terms of a question, without English stop words unless it holds nothing else."""
    words = _words(text)
    telling = [word for word in words if word.replace("'", "") not in _STOP_WORDS]
    return list(dict.fromkeys(term for word in telling or words for term in _terms(word, pairs_only=True)))


def _words(text: str) -> list[str]:
    if text.isascii():
        return WORD.findall(text.lower())
    folded = unicodedata.normalize("NFKC", text).casefold()
    if not folded.isascii():
        folded = unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFD", folded)))
    return [word.replace("’", "'") for word in WORD.findall(folded)]


def _terms(word: str, *, pairs_only: bool) -> Iterator[str]:
    if word.isascii():
        yield from _stems([word])
        return
    end = 0
    for run in UNSPACED.finditer(word):
        if run.start() > end:
            yield from _stems([word[end : run.start()]])
        characters = run.group()
        if len(characters) == 1 or not pairs_only:
            yield from characters
        yield from (characters[i : i + 2] for i in range(len(characters) - 1))
        end = run.end()
    if end < len(word):
        yield from _stems([word[end:]])


def _stems(words: list[str]) -> list[str]:
    stemmer = getattr(_local, "stemmer", None)
    if stemmer is None:  # one a thread: a stemmer keeps state while it works
        stemmer = _local.stemmer = Stemmer.Stemmer("english")
    stems: list[str] = stemmer.stemWords([word[:MAX_TERM_LENGTH] for word in words])
    if "'" not in "".join(words):  # then no stem is empty either
        return stems
    terms = (
        stem.replace("'", "") or word.replace("'", "")[:MAX_TERM_LENGTH]
        for stem, word in zip(stems, words, strict=True)
    )
    return [term for term in terms if term]  # an apostrophe alone is none
