"""Secrets kept out of the memory: found in what is stored, then refused or masked."""

from maas.redaction.redactor import Redactor, accepted, build_redactor

__all__ = ["Redactor", "accepted", "build_redactor"]
