"""The ``maas`` command."""

from maas.cli.app import main

__all__ = ["main"]
