"""maas: personal memory as a service. ``from maas import PersonalMemoryBrain`` runs it inside your program.

Importing this package loads nothing heavy: the names below are fetched when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maas.brain import PersonalMemoryBrain
    from maas.errors import MaasError
    from maas.records import Memory, RecallResponse, SearchHit, StoreResponse, StoreResult
    from maas.settings import Settings, load_settings

_HOMES = {
    "PersonalMemoryBrain": "maas.brain",
    "MaasError": "maas.errors",
    "Memory": "maas.records",
    "RecallResponse": "maas.records",
    "SearchHit": "maas.records",
    "Settings": "maas.settings",
    "StoreResponse": "maas.records",
    "StoreResult": "maas.records",
    "load_settings": "maas.settings",
}

__all__ = [
    "MaasError",
    "Memory",
    "PersonalMemoryBrain",
    "RecallResponse",
    "SearchHit",
    "Settings",
    "StoreResponse",
    "StoreResult",
    "load_settings",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
