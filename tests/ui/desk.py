"""Somebody at the dashboard without a browser: cookies, forms with their tokens, and what the pages say."""

from __future__ import annotations

import html
import re
from types import TracebackType
from typing import Any, Self

import httpx2

from tests.live import Live

TOKEN = re.compile(r'name="form_token" value="([0-9a-f]{64})"')


class Desk:
    """Follows no redirects, so that tests see them."""

    def __init__(self, live: Live, key: str | None = None) -> None:
        self.http = httpx2.Client(base_url=live.url, timeout=30)
        if key is not None:
            answer = self.send("/ui/sign-in", page="/ui/sign-in", key=key)
            assert answer.status_code == 303, answer.text

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.http.close()

    def get(self, page: str, **parameters: str) -> httpx2.Response:
        return self.http.get(page, params=parameters or None)

    def text(self, page: str, **parameters: str) -> str:
        """What the page says, with its markup off."""
        answer = self.get(page, **parameters)
        assert answer.status_code == 200, (answer.status_code, answer.headers, answer.text)
        return said(answer)

    def token(self, page: str, **parameters: str) -> str:
        found = TOKEN.search(self.get(page, **parameters).text)
        assert found, page
        return found.group(1)

    def send(self, to: str, *, page: str = "/ui/model", files: Any = None, **fields: str) -> httpx2.Response:
        """Post a form with the token that ``page`` holds."""
        return self.http.post(to, data={"form_token": self.token(page), **fields}, files=files)


def said(answer: httpx2.Response) -> str:
    body = answer.text.partition("<main")[2].partition("</main>")[0]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())
