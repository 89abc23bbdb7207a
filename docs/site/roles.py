"""The docstrings' reStructuredText roles and literals as Markdown: a Griffe extension."""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:class|meth|func|data|mod|attr|exc):`~?\.?([^`]+)`")


class Roles(griffe.Extension):
    """``:meth:`recall` `` becomes `recall`, and ````text```` becomes `text`."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite what one object says of itself, once."""
        if obj.docstring is not None:
            obj.docstring.value = _ROLE.sub(r"`\1`", obj.docstring.value).replace("``", "`")
