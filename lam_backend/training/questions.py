"""Questions made from what somebody said, and windows of the conversation it was said in.

No question set is trained on. A question keeps a few of a turn's content words, some of them put in other words, and
asks for them as people ask a memory: "When did Nora visit museum?" for "Nora: We visited the museum on Sunday!". The
other turns of the same conversation are what it must not find.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lam_backend.evaluation.bm25 import STOP_WORDS
from lam_backend.text_file import lines
from lam_backend.training import sources
from lam_backend.training.blocklist import Blocklist, sentences
from lam_backend.training.shares import drawn

SHARES = {"topical": 0.5, "tasks": 0.2, "news": 0.3}
"""Share of each kind of conversation; news are stories whose sentences stand as turns without a speaker."""
LEAST_WORDS = 3
_WORD = re.compile(r"[A-Za-z][A-Za-z'’-]+|\d+")
_FILLERS = (
    "about after all also any because before cool did doing don't down get got great haha hey hi i'd i'll i'm i've "
    "it's just know lol like more most much now oh one other out over really said say some such thanks that's they're "
    "think those through too up us very well yeah yes you're"
)
_EMPTY = STOP_WORDS | frozenset(_FILLERS.split())
_NAMES = (
    "Ada Adam Alice Amir Ana Ben Carla Chen Clara Dan Diego Elena Emil Emma Eva Felix Grace Hana Hugo Ines Ivan Jana "
    "Jonas Julia Kai Karl Lars Lea Leo Lina Lucia Luis Mara Marco Maria Max Mia Mila Nadia Noah Nora Olga Omar Oscar "
    "Paul Petra Priya Rosa Ruth Sam Sara Simon Sofia Tara Theo Tom Vera Victor Yara Zoe"
)
_NAMED = (
    "What did {name} say about {words}?",
    "When did {name} {words}?",
    "Where did {name} {words}?",
    "Why did {name} {words}?",
    "How did {name} {words}?",
    "What {words} did {name} mention?",
    "Which {words} does {name} have?",
    "Who did {name} {words} with?",
    "What does {name} think of {words}?",
    "{name} {words}",
)
_NAMELESS = ("What about {words}?", "When was {words}?", "Where is {words}?", "Who {words}?", "Why {words}?", "{words}")


@dataclass(frozen=True, slots=True)
class Window:
    """Turns that follow each other, and the speaker of each; "" where there is none."""

    turns: tuple[str, ...]
    speakers: tuple[str, ...]


def content_words(text: str) -> list[str]:
    """The words that say what a text is about, in its order."""
    return [word for word in _WORD.findall(text) if len(word) > 1 and word.lower() not in _EMPTY]


def question(turn: str, speaker: str, synonyms: Mapping[str, Sequence[str]], rng: np.random.Generator) -> str | None:
    """A question that ``turn`` answers; None when it says too little."""
    words = content_words(turn.removeprefix(f"{speaker}: ") if speaker else turn)
    if len(words) < LEAST_WORDS:
        return None
    count = int(rng.integers(2, min(6, len(words)) + 1))
    reach = min(len(words), count + 2)  # of words that stand close together
    first = int(rng.integers(0, len(words) - reach + 1))
    places = np.sort(rng.choice(reach, count, replace=False)) + first
    chosen = [_other_words(words[place], synonyms, rng) for place in places]
    templates = _NAMED if speaker and rng.random() < 0.85 else _NAMELESS
    return templates[rng.integers(len(templates))].format(name=speaker, words=" ".join(chosen))


def _other_words(word: str, synonyms: Mapping[str, Sequence[str]], rng: np.random.Generator) -> str:
    others = synonyms.get(word.lower(), ())
    return others[int(rng.integers(len(others)))] if others and rng.random() < 0.3 else word


def load_synonyms(data: Path) -> dict[str, list[str]]:
    """Single words of PPDB's lexical pairs, both ways."""
    found: dict[str, list[str]] = {}
    for line in lines(data / "train" / "wikisplit_ppdb" / "ppdb_lexical_synonyms.txt.gz"):
        pair = line.rstrip("\n").split("\t")
        if len(pair) == 2 and all(word.isalpha() and len(word) > 3 for word in pair):
            for word, other in (pair, pair[::-1]):
                found.setdefault(word, []).append(other)
    return found


def load_windows(data: Path, *, count: int, characters: int, seed: int) -> list[Window]:
    """About ``count`` windows of at most ``characters`` each, in the shares of ``SHARES``; blocked turns left out."""
    blocklist = Blocklist.read(data / "eval" / "blocklist_sha1.txt.gz")
    readers = {"topical": _topical, "tasks": _tasks, "news": _news}

    def windows(kind: str, turns: list[str], rng: np.random.Generator) -> Iterator[Window]:
        said = [turn.strip() for turn in turns]
        kept = [turn for turn in said if turn and not blocklist.blocks(turn)]
        return _windows(kept, characters, "" if kind == "news" else None, rng)

    return drawn(SHARES, count, (seed, 200), lambda kind: readers[kind](data / "train"), windows)


def _topical(folder: Path) -> Iterator[list[str]]:
    return sources.topical_turns(folder / "topical_chat")


def _tasks(folder: Path) -> Iterator[list[str]]:
    return sources.sgd_turns(folder / "sgd_dialogues")


def _news(folder: Path) -> Iterator[list[str]]:
    story: list[str] = []
    for text in sources.read(folder.parent, "wikinews_en"):
        story += sentences(text)
        if len(story) >= 12:
            yield story
            story = []


def _windows(turns: Sequence[str], characters: int, speaker: str | None, rng: np.random.Generator) -> Iterator[Window]:
    """Cut a conversation; two drawn names speak in turn unless ``speaker`` says otherwise."""
    names = rng.choice(_NAMES.split(), 2, replace=False).tolist() if speaker is None else [speaker, speaker]
    taken: list[str] = []
    said: list[str] = []
    for place, turn in enumerate(turns):
        name = names[place % 2]
        line = f"{name}: {turn}" if name else turn
        if taken and sum(map(len, taken)) + len(line) > characters:
            yield Window(tuple(taken), tuple(said))
            taken, said = [], []
        taken.append(line[:characters])
        said.append(name)
    if len(taken) > 1:
        yield Window(tuple(taken), tuple(said))
