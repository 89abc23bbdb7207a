"""Forms that only our own pages can send: each carries a token that follows from a cookie no other site can read."""

from __future__ import annotations

import hashlib
import hmac

from maas.errors import PermissionDeniedError

FIELD = "form_token"
_FOREIGN = ("cross-site", "same-site")


def token_for(cookie: str) -> str:
    """The token of forms shown to whoever has the cookie: its HMAC, so that the page does not tell the cookie."""
    return hmac.new(cookie.encode(), b"maas form", hashlib.sha256).hexdigest()


def check(cookie: str | None, token: str, fetch_site: str | None) -> None:
    """Refuse a form that another page sent.

    Args:
        cookie: of the request; None: it came without.
        token: what the form holds.
        fetch_site: the browser's ``Sec-Fetch-Site``, where it sends one.

    Raises:
        PermissionDeniedError: the token does not follow from the cookie, or the browser names another site.
    """
    expected = token_for(cookie) if cookie else ""
    if not cookie or fetch_site in _FOREIGN or not hmac.compare_digest(expected.encode(), token.encode()):
        raise PermissionDeniedError(
            "the form is too old, or another page sent it; nothing was changed."
            " Open the page again and send it from there"
        )
