"""Where a text holds a card number, an e-mail address or a phone number.

Each takes time in proportion to the text's length, whatever it holds.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import TYPE_CHECKING

from maas.errors import ConfigError
from maas.recall.analysis import UNSPACED_SIGNS

if TYPE_CHECKING:
    from phonenumbers import PhoneNumberMatch

Span = tuple[int, int]

# As cards are written: without gaps, or in the groups that are printed on them, with one kind of gap.
_GAP = "[ \u00a0\u202f-]"
_CARD = re.compile(
    rf"(?<![A-Za-z_])(?<!\d)(?<!\d[-.])(?:\d{{14,19}}"
    rf"|\d{{4}}({_GAP})\d{{4}}\1\d{{4}}\1\d{{4}}(?:\1\d{{1,3}})?"
    rf"|\d{{4}}({_GAP})\d{{6}}\2\d{{4,5}})(?![A-Za-z_])(?!\d)(?![-.]\d)"
)
# After the sixteen digits of most cards stands another number as often as three more of the card's: 12/27, 3 days ago.
_SIXTEEN = re.compile(rf"(?:\d{{4}}{_GAP}){{3}}\d{{4}}(?={_GAP})")
# Beginnings of the numbers that networks give out, and their lengths (ISO/IEC 7812): American Express; Diners Club;
# Visa; Mastercard; Discover, JCB, UnionPay and Maestro.
_NETWORKS = re.compile(
    r"3[47]\d{13}|3(?:0[0-5]|[689]\d)\d{11}|4\d{15}(?:\d{3})?|5[1-5]\d{14}"
    r"|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}"
    r"|(?:60|6[245]|35|50|5[678])\d{14,17}"
)


def _address(other: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Patterns of ``local`` and ``domain``, none of whose characters is of ``other``."""
    letter, sign = rf"(?:(?![{other}])[^\W\d_])", rf"(?:(?![{other}])[^\W_])"
    word = rf"(?:(?![{other}])\w)"
    local = rf"(?:{word}|[!#$%&'*+/=?^`{{|}}~-])(?:{word}|[.!#$%&'*+/=?^`{{|}}~-]){{0,63}}\Z"
    end = rf"(?:xn--[a-z0-9-]{{2,59}}|{letter}{{2,63}})(?!{word}|-)"
    domain = rf"(?:{sign}(?:(?:{word}|-){{0,61}}{sign})?\.){{1,8}}{end}"
    return re.compile(local), re.compile(domain)


# First without the scripts in which a sentence goes on beside an address without a space.
_ADDRESSES = (_address(UNSPACED_SIGNS), _address("\0"))
_WITH_PLUS = re.compile(r"[+＋]\D{0,3}\d")
_DIALLED = re.compile(r"(?:\d\D{0,4}){7}")
_FEWEST_DIGITS = 7
_LONGEST_LOCAL, _LONGEST_DOMAIN = 64, 255


def cards(text: str) -> Iterator[Span]:
    """Numbers of 14 to 19 digits that a card network gives out, and whose check digit is right (ISO/IEC 7812-1)."""
    match = _CARD.search(text)
    while match:
        shorter = _SIXTEEN.match(match[0])
        ends = [match.end()] if shorter is None else [match.end(), match.start() + shorter.end()]
        end = next((end for end in ends if _is_card(text[match.start() : end])), None)
        if end is not None:
            yield match.start(), end
        match = _CARD.search(text, match.start() + 1 if end is None else end)


def _is_card(written: str) -> bool:
    digits = [unicodedata.digit(character) for character in written if character.isdecimal()]
    return _NETWORKS.fullmatch("".join(map(str, digits))) is not None and _luhn(digits)


def _luhn(digits: list[int]) -> bool:
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def emails(text: str) -> Iterator[Span]:
    """``local@domain``, where the domain ends in letters."""
    at = text.find("@")
    while at >= 0:
        for before, after in _ADDRESSES:
            local = before.search(text, max(0, at - _LONGEST_LOCAL), at)
            domain = after.match(text, at + 1, at + 1 + _LONGEST_DOMAIN) if local else None
            if local and domain:
                yield local.start(), domain.end()
                break
        at = text.find("@", at + 1)


class Phones:
    """Numbers that exist in the plans libphonenumber knows: with ``+`` and country, or as dialled in ``region``.

    Without ``+`` it must be grouped as is usual there, or begin with 0: a bare run of digits may count anything.

    Raises:
        ConfigError: phonenumbers is not installed, or knows no such region.
    """

    def __init__(self, region: str | None) -> None:
        try:
            import phonenumbers
        except ImportError as error:
            raise missing(error) from None
        if region is not None and region not in phonenumbers.SUPPORTED_REGIONS:
            raise ConfigError(
                f"redaction.phone_region: found {region!r}; expected a country in two capitals, such as US"
            )
        self._library = phonenumbers
        self._region = region

    def __call__(self, text: str) -> Iterator[Span]:
        leniency = self._library.Leniency
        if _WITH_PLUS.search(text):
            matches = self._library.PhoneNumberMatcher(text, None, leniency.VALID, max_tries=len(text))
            yield from map(_span, matches)
        if self._region is not None and _DIALLED.search(text):
            matches = self._library.PhoneNumberMatcher(
                text, self._region, leniency.STRICT_GROUPING, max_tries=len(text)
            )
            yield from (_span(match) for match in matches if _is_dialled(match))


def _is_dialled(match: PhoneNumberMatch) -> bool:
    raw = match.raw_string
    if raw.isdecimal():
        return raw.startswith("0")
    return sum(map(str.isdecimal, raw)) >= _FEWEST_DIGITS


def _span(match: PhoneNumberMatch) -> Span:
    opened = match.raw_string.startswith("(") and match.raw_string.count("(") > match.raw_string.count(")")
    return match.start + opened, match.end


def missing(error: ImportError) -> ConfigError:
    return ConfigError(f"redaction is on, but what it needs cannot be loaded ({error}): pip install 'maas[redaction]'")
