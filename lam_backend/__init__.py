"""LAM: a linear-time sentence encoder, as a PyTorch model and as a packaged, torch-free bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lam_backend.config import LAMConfig as LAMConfig
    from lam_backend.model import DeltaNet6Layer as DeltaNet6Layer
    from lam_backend.packaging.lam_runtime import LAMEncoder as LAMEncoder

    DeltaNet6LayerWorldClass = DeltaNet6Layer

__all__ = ["DeltaNet6Layer", "DeltaNet6LayerWorldClass", "LAMConfig", "LAMEncoder"]


def __getattr__(name: str) -> Any:
    """Import torch only when the model that needs it is asked for; LAMEncoder does without."""
    if name == "LAMEncoder":
        from lam_backend.packaging.lam_runtime import LAMEncoder

        return LAMEncoder
    if name in ("DeltaNet6Layer", "DeltaNet6LayerWorldClass"):
        from lam_backend.model import DeltaNet6Layer

        return DeltaNet6Layer
    if name == "LAMConfig":
        from lam_backend.config import LAMConfig

        return LAMConfig
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
