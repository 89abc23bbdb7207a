"""How many tokens a text costs, without anybody's tokenizer.

Models cut text differently; this estimate is meant to be above them, so that a budget kept by it holds for them:

    a run of ASCII letters                 one token for every 4 letters begun
    letters and digits mixed, as in ids    two for every 3 characters begun
    an ASCII mark, a line break            one each
    any other character                    one less than its UTF-8 bytes: 1 in Greek, 2 in Chinese, 3 for an emoji
    a space between words                  none: models read it with the word after it
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

_PARTS = re.compile(r"(?P<word>[A-Za-z]++)(?![0-9])|(?P<mixed>[A-Za-z0-9]+)|(?P<space>[ \t]+)|(?P<other>.)", re.DOTALL)
_LETTERS_A_TOKEN = 4
_MIXED_A_TOKEN = 1.5
_SPACES_A_TOKEN = 4


def estimate_tokens(text: str) -> int:
    """Tokens that ``text`` costs at most, in all likelihood."""
    return sum(cost for cost, _ in _costs(text))


def within_tokens(text: str, tokens: int) -> bool:
    """Whether the estimate is ``tokens`` or less; reads no further than it must."""
    return len(cut_to_tokens(text, tokens)) == len(text)


def cut_to_tokens(text: str, tokens: int) -> str:
    """The longest beginning of ``text`` that ends with a whole word and is estimated at ``tokens`` or less."""
    spent = end = 0
    for cost, stop in _costs(text):
        spent += cost
        if spent > tokens:
            break
        end = stop
    return text[:end]


def _costs(text: str) -> Iterator[tuple[int, int]]:
    """For each part its tokens, and where it ends."""
    for part in _PARTS.finditer(text):
        length = part.end() - part.start()
        match part.lastgroup:
            case "word":
                cost = -(-length // _LETTERS_A_TOKEN)
            case "mixed":
                cost = math.ceil(length / _MIXED_A_TOKEN)
            case "space":
                cost = (length - 1 + _SPACES_A_TOKEN - 1) // _SPACES_A_TOKEN
            case _:
                cost = max(1, len(part.group().encode("utf-8", "surrogatepass")) - 1)
        yield cost, part.end()
