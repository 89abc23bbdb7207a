"""Logs on standard error, for people or for machines."""

from __future__ import annotations

import logging
import sqlite3
import sys
import traceback
from typing import TextIO

import structlog

from maas.errors import MaasError
from maas.settings import LogSettings

_CHATTY = ("alembic.runtime.plugins", "faiss.loader", "sentence_transformers", "httpx2", "httpcore2", "mcp")
# Errors whose words are about this machine or this program. Others may quote what they were given.
_PLAIN_WORDS = (MaasError, OSError, sqlite3.Error, ImportError, MemoryError)
_LEFT_OUT = "(its words are left out: they may quote what somebody said)"


def configure_logs(settings: LogSettings) -> None:
    """Send structlog's and the standard library's records through one renderer. Called once, by the program."""
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.types.Processor
    if settings.format == "json":
        shared.append(structlog.processors.ExceptionRenderer(_traceback))
        renderer = structlog.processors.JSONRenderer()
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=_print_traceback)
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=False,  # a cached logger would outlive a later configuration
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


def _print_traceback(out: TextIO, exc_info: structlog.typing.ExcInfo) -> None:
    out.write(f"\n{_traceback(exc_info)}")


def _traceback(exc_info: structlog.typing.ExcInfo) -> str:
    """The frames of an error and of what caused it, with no words that were not ours."""
    error: BaseException | None = exc_info[1]
    parts: list[str] = []
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        words = str(error) if isinstance(error, _PLAIN_WORDS) else _LEFT_OUT
        frames = "".join(traceback.format_tb(error.__traceback__))
        parts.append(f"Traceback (most recent call last):\n{frames}{type(error).__qualname__}: {words}")
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n\nfollowed by\n\n".join(reversed(parts))
