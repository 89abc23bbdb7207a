"""What is recalled, made ready for a prompt."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from maas.recall.context import Room, build_context
from maas.recall.tokens import estimate_tokens
from maas.records import ContextResponse, RecallResponse
from maas.requests import ContextRequest, parse

DEFAULT_CONTEXT_TOKENS = 1000
"""The room where it may be left out: on the command line and in the adapters."""


class Prompting:
    """The part of PersonalMemoryBrain that writes for language models."""

    recall: Callable[..., RecallResponse]

    def context(
        self,
        query: str,
        *,
        user_id: str,
        max_tokens: int | None = None,
        max_characters: int | None = None,
        **fields: Any,
    ) -> ContextResponse:
        """What is remembered about ``query`` as a block for a prompt; ``fields`` are those of :class:`ContextRequest`.

        Never longer than ``max_characters``, nor than ``max_tokens`` as :mod:`maas.recall.tokens` estimates them.

        Raises:
            InvalidInputError, FingerprintMismatchError: as :meth:`recall`.
        """
        started = time.perf_counter()
        limits = {"max_tokens": max_tokens, "max_characters": max_characters}
        request = parse(ContextRequest, {"query": query, "user_id": user_id, **limits, **fields})
        asked = {name: getattr(request, name) for name in request.model_fields_set | {"top_k"} if name not in limits}
        room = Room(request.max_tokens, request.max_characters)
        text, memories = build_context(self.recall(**asked).results, request.query, room)
        return ContextResponse(
            text=text,
            memories=memories,
            tokens=estimate_tokens(text),
            characters=len(text),
            took_ms=(time.perf_counter() - started) * 1e3,
        )
