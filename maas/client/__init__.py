"""The service over HTTP, with the same methods, results and exceptions as the embedded brain."""

from maas.client.async_ import AsyncMaasClient
from maas.client.sync import MaasClient

__all__ = ["AsyncMaasClient", "MaasClient"]
