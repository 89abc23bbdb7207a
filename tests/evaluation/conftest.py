"""Commands run here as in the command line's own tests."""

from tests.cli.conftest import logging_put_back

__all__ = ["logging_put_back"]
