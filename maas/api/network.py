"""Which addresses never leave this machine."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


def is_loopback(host: str) -> bool:
    """Whether ``host``, a name or an address without port, is this machine talking to itself."""
    if host.rstrip(".").lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def authority_is_loopback(authority: str) -> bool:
    """The same for a ``Host`` header, which may carry a port."""
    return _is_loopback_url(f"//{authority}")


def origin_is_loopback(origin: str) -> bool:
    """The same for an ``Origin`` header; the opaque ``null`` is nobody's page."""
    return _is_loopback_url(origin)


def _is_loopback_url(url: str) -> bool:
    try:
        return is_loopback(urlsplit(url).hostname or "")
    except ValueError:
        return False
