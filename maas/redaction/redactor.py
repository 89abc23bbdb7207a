"""What is done about what was found: refuse the request, or put ``[card]`` in the place of the number."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel

from maas.errors import FieldError, InvalidInputError
from maas.requests import MAX_SHOWN_PATH, parse
from maas.settings import RedactionSettings, SecretKind

Span = tuple[int, int]
Finder = Callable[[str], Iterable[Span]]
Path = tuple[str, ...]
R = TypeVar("R", bound=BaseModel)

# What people write, by the names it has in requests and in lines of an export; metadata is text at any depth.
_TEXTS = frozenset({"text", "content", "title", "name", "source"})
_METADATA = "metadata"
_HOLDERS = frozenset({"messages", "memories", "memory", "document", "history", _METADATA})
_SHOWN_FAULTS = 3
_CALLED: Mapping[SecretKind, str] = {
    "key": "a secret key",
    "email": "an e-mail address",
    "card": "a card number",
    "phone": "a phone number",
}


class Redactor:
    """Looks through requests before anything is made of them. Safe to share between threads.

    Args:
        finders: by kind, in the order in which they look.
        block: refuse what holds a find; else mask it.
    """

    def __init__(self, finders: Mapping[SecretKind, Finder], *, block: bool) -> None:
        self._finders = finders
        self._block = block

    def __call__(self, request: R, place: str = "") -> R:
        """The request as it may be kept; the same object if nothing was found in it.

        Args:
            place: where the request stands in a larger one, such as ``lines.3``.

        Raises:
            InvalidInputError: block, and something was found. Names fields and kinds, and repeats nothing.
            PayloadTooLargeError: masked, a text is longer than may be kept.
        """
        given = request.model_dump(exclude_unset=True)
        faults: list[FieldError] = []
        for path, kind in self._walk(given, (place,) if place else ()):
            field = ".".join(map(self.mask, path))[:MAX_SHOWN_PATH]
            faults.append(FieldError(field, f"holds {_CALLED[kind]}, which is not kept here; leave it out"))
        if not faults:
            return request
        if self._block:
            detail = "; ".join(f"{fault.field}: {fault.message}" for fault in faults[:_SHOWN_FAULTS])
            more = len(faults) - _SHOWN_FAULTS
            raise InvalidInputError(f"{detail}; and {more} more" if more > 0 else detail, errors=faults)
        return parse(type(request), given)

    def mask(self, text: str) -> str:
        """The text with ``[kind]`` in the place of each find."""
        return self._masked(text)[0]

    def _masked(self, text: str) -> tuple[str, list[SecretKind]]:
        """The text masked, and the kinds that were in it. Each kind is looked for in what the ones before have left."""
        kinds: list[SecretKind] = []
        for kind, find in self._finders.items():
            if spans := sorted(find(text)):
                text = _replaced(text, spans, f"[{kind}]")
                kinds.append(kind)
        return text, kinds

    def _walk(self, value: Any, path: Path, *, all_text: bool = False) -> Iterator[tuple[Path, SecretKind]]:
        """Place and kind of what is found; masks it where it stands."""
        for key, item in list(value.items() if isinstance(value, dict) else enumerate(value)):
            here = (*path, str(key))
            if isinstance(item, str) and (all_text or key in _TEXTS):
                value[key], kinds = self._masked(item)
                yield from ((here, kind) for kind in kinds)
            elif isinstance(item, (dict, list)) and (all_text or isinstance(value, list) or key in _HOLDERS):
                yield from self._walk(item, here, all_text=all_text or key == _METADATA)


def _replaced(text: str, spans: Sequence[Span], mask: str) -> str:
    """``spans`` (ascending) each replaced; those that overlap as one."""
    parts, end = [], 0
    for start, stop in spans:
        if start >= end:
            parts += [text[end:start], mask]
        end = max(end, stop)
    return "".join([*parts, text[end:]])


def build_redactor(settings: RedactionSettings) -> Redactor | None:
    """None while redaction is off: then nothing of it is loaded.

    Raises:
        ConfigError: a library it needs is missing, or the region is none.
    """
    if settings.mode == "off":
        return None
    from maas.redaction.finders import Phones, cards, emails
    from maas.redaction.keys import Keys

    makers: Mapping[SecretKind, Callable[[], Finder]] = {
        "key": Keys,
        "email": lambda: emails,
        "card": lambda: cards,
        "phone": lambda: Phones(settings.phone_region),
    }
    finders = {kind: make() for kind, make in makers.items() if kind in settings.kinds}
    return Redactor(finders, block=settings.mode == "block")


def accepted(redact: Redactor | None, model: type[R], data: Mapping[str, Any]) -> R:
    """What somebody asks to be written, as it may be kept. Raises as ``parse`` and the redactor do."""
    request = parse(model, data)
    return request if redact is None else redact(request)
