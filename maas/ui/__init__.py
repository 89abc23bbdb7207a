"""The dashboard under ``/ui``: pages rendered here, over the same brain, keys, limits and audit log as the API."""

from maas.ui.pages import router

__all__ = ["router"]
