"""What the doctor says."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field

from maas.records import Record
from maas.storage.tables import SCHEMA_REVISION

Severity = Literal["ok", "warning", "fault"]
Remedy = Literal["indexes", "texts", "versions", "words", "vectors", "counts"]
REMEDIES: tuple[Remedy, ...] = get_args(Remedy)


class Finding(Record):
    """One thing looked at."""

    check: str
    severity: Severity
    detail: str
    remedy: Remedy | None = Field(None, description="What `maas doctor --repair` would rebuild; null: nothing it can.")


class DoctorReport(Record):
    """Everything that was looked at; after a repair, as it is since."""

    healthy: bool = Field(description="No fault is left; warnings may be.")
    repaired: list[str] = Field(default_factory=list, description="What was rebuilt.")
    findings: list[Finding]


def ok(check: str, detail: str) -> Finding:
    return Finding(check=check, severity="ok", detail=detail)


def warning(check: str, detail: str) -> Finding:
    return Finding(check=check, severity="warning", detail=detail)


def fault(check: str, detail: str, remedy: Remedy | None = None) -> Finding:
    return Finding(check=check, severity="fault", detail=detail, remedy=remedy)


def judged(check: str, wrong: int, of: int, what: str, problem: str, remedy: Remedy | None) -> Finding:
    """``wrong`` of ``of`` things have a problem."""
    if wrong:
        return fault(check, f"{wrong:,} of {of:,} {what} {problem}", remedy)
    return ok(check, f"{of:,} {what}")


def schema_found(revision: str | None) -> Finding:
    """Whether the database has this program's schema: nothing else is looked at otherwise."""
    if revision != SCHEMA_REVISION:
        return fault("schema", f"is {revision!r}, this program's is {SCHEMA_REVISION!r}; run `maas migrate`")
    return ok("schema", f"revision {revision}")
