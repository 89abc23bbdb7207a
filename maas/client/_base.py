"""What both clients share: where to send, with which headers, how often."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import IO, Any, cast

import httpx2

from maas.client._answers import no_answer, retry_after
from maas.client._requests import JSON, JSON_LINES, Call
from maas.client._retries import REFUSED_STATUS, RETRIED_STATUS, Retries, may_pass, never_sent
from maas.errors import FieldError, InvalidInputError, MaasError
from maas.fields import MAX_ID_LENGTH

DEFAULT_URL = "http://127.0.0.1:8000"
DEFAULT_TIMEOUT = 30.0
DEFAULT_RETRIES = 3
POLL_SECONDS = 0.5

_UPLOAD_IN_MEMORY = 8_000_000
_CHUNK = 65_536


def new_idempotency_key() -> str:
    return uuid.uuid4().hex


def utc_now() -> datetime:
    return datetime.now(UTC)


class BaseClient:
    def __init__(
        self,
        base_url: str,
        api_key: str | None,
        timeout: float,
        retries: Retries,
        ids: Callable[[], str],
        clock: Callable[[], datetime],
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._timeout = timeout
        self._retries = retries
        self._ids = ids
        self._clock = clock
        self._headers = {"Accept": JSON, "User-Agent": "maas-python"}
        if api_key is not None:
            self._headers["Authorization"] = f"Bearer {api_key}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_url!r})"

    def _prepared(self, call: Call[Any]) -> dict[str, Any]:
        """Arguments of ``build_request``; made once a call, so that each retry carries the same Idempotency-Key."""
        headers = {}
        if call.content is not None:
            headers["Content-Type"] = JSON
        if call.keyed:
            headers["Idempotency-Key"] = (
                self._ids() if call.idempotency_key is None else _sendable(call.idempotency_key)
            )
        return {"method": call.method, "url": call.path, "params": call.params or None, "headers": headers}

    def _pause_after_answer(self, call: Call[Any], response: httpx2.Response, waits: list[float]) -> float | None:
        """Seconds to wait before sending again, or None if the answer is to be taken as it is."""
        if response.status_code not in (REFUSED_STATUS if call.once else RETRIED_STATUS):
            return None
        return self._retries.wait(waits, retry_after(response, self._clock))

    def _pause_after_silence(self, call: Call[Any], error: httpx2.HTTPError, waits: list[float]) -> float:
        """Seconds to wait before sending again.

        Raises:
            TransportError: this was the last try, or another cannot help.
        """
        again = never_sent(error) if call.once else may_pass(error)
        pause = self._retries.wait(waits) if again else None
        if pause is None:
            raise self._silence(error) from error
        return pause

    def _silence(self, error: httpx2.HTTPError) -> MaasError:
        return no_answer(error, self.base_url)


def _sendable(key: str) -> str:
    """Raises InvalidInputError."""
    if not (0 < len(key) <= MAX_ID_LENGTH and key.isascii() and key.isprintable()):
        message = f"must be 1 to {MAX_ID_LENGTH} printable ASCII characters, to travel in a header"
        raise InvalidInputError(f"idempotency_key {message}", errors=[FieldError("idempotency_key", message)])
    return key


def upload_file() -> IO[bytes]:
    """Where the lines of an import wait, so that they can be sent again; on disk once they are many."""
    return cast("IO[bytes]", tempfile.SpooledTemporaryFile(_UPLOAD_IN_MEMORY))


def upload_headers() -> dict[str, str]:
    return {"Content-Type": JSON_LINES}


def upload_timeout(seconds: float) -> httpx2.Timeout:
    """An import answers once all is encoded and written, which takes as long as it takes."""
    return httpx2.Timeout(seconds, read=None)


def next_chunk(file: IO[bytes]) -> bytes:
    return file.read(_CHUNK)
