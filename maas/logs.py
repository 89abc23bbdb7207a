"""Where the log goes when maas runs inside somebody else's program."""

from __future__ import annotations

import structlog


def log_as_a_library() -> None:
    """Hand the log to ``logging``, under names that begin with ``maas``; nothing is ever printed to standard output.

    A program that has configured structlog, as ``maas serve`` has, keeps what it configured.
    """
    if structlog.is_configured():
        return
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["event"]),
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,  # a cached logger would outlive a later configuration
    )
