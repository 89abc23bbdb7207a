"""What PostgreSQL and the way to it refuse, told apart: worth a retry, a matter of set-up, or a fault."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from maas.errors import MaasError, StorageError, UnavailableError

# SQLSTATE → (what to say, seconds after which to try again). https://www.postgresql.org/docs/current/errcodes-appendix.html
_PASSING = {
    "25006": ("the server takes no writes: a read-only replica; add target_session_attrs=read-write to storage.url", 2),
    "40001": ("another transaction was in the way; try again", 1),
    "40P01": ("another transaction was in the way; try again", 1),
    "53100": ("the server's disk is full", 30),
    "53200": ("the server has no memory left", 5),
    "53300": ("the server takes no more connections; lower storage.connections or raise its max_connections", 2),
    "55P03": ("others kept these memories locked for longer than storage.busy_timeout_ms; try again", 1),
    "57014": ("the server cancelled the statement; try again", 1),
}
_REFUSALS = ("authentication failed", "no pg_hba.conf entry", "no password supplied", "does not exist")


@contextmanager
def postgres_errors() -> Iterator[None]:
    """Raise what the database or its pool refuses as an error of this program."""
    try:
        yield
    except MaasError:
        raise
    except PoolTimeoutError as error:
        raise UnavailableError(
            "every connection to PostgreSQL is in use; raise storage.connections, or try again", retry_after=1
        ) from error
    except (DBAPIError, psycopg.Error) as error:
        reason = error.orig if isinstance(error, DBAPIError) else error
        raise _told(reason) from error


def lost(error: BaseException) -> bool:
    """Whether the connection, or the server at its other end, is no more use."""
    reason = error.orig if isinstance(error, DBAPIError) else error
    if not isinstance(reason, psycopg.Error):
        return False
    state = reason.sqlstate or ""
    unreached = isinstance(reason, (psycopg.OperationalError, psycopg.InterfaceError)) and not state
    return unreached or state[:2] == "08" or state[:3] == "57P" or state == "25006"


def _told(reason: BaseException | None) -> MaasError:
    said = _words(reason)
    state = reason.sqlstate if isinstance(reason, psycopg.Error) else None
    if state in _PASSING:
        what, seconds = _PASSING[state]
        return UnavailableError(f"{what} ({said})", retry_after=seconds)
    if reason is not None and lost(reason):
        if any(refusal in said for refusal in _REFUSALS):
            return UnavailableError(f"PostgreSQL refused to let maas in: {said}; check storage.url", retry_after=5)
        return UnavailableError(f"PostgreSQL cannot be reached: {said}; try again", retry_after=2)
    return StorageError(f"the database refused: {said}; nothing was written")


def _words(reason: BaseException | None) -> str:
    """The server's own message, else the driver's last line that says something."""
    if isinstance(reason, psycopg.Error) and reason.diag.message_primary:
        return reason.diag.message_primary
    lines = [line.strip() for line in str(reason).splitlines() if line.strip()]
    refused = [line for line in lines if "FATAL:" in line]
    line = (refused or lines or ["no reason given"])[0]
    return line.rsplit("FATAL:", 1)[-1].strip()
