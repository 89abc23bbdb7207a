"""Templates, and what they can say: every value is escaped, and one that is missing is an error."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from datetime import date, datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

HERE = Path(__file__).parent
STATIC = HERE / "static"
ASSETS = frozenset({"app.css", "htmx.min.js", "logo.svg", "pico.min.css"})
_HUES = 8


def render(template: str, **context: Any) -> str:
    return _environment().get_template(template).render(**context)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(address=address, asset=asset)
    environment.filters.update(
        clock=clock,
        count=lambda number: f"{number:,}",
        day=day,
        hue=hue,
        initial=initial,
        json=lambda value: json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True),
        local=lambda moment: "" if moment is None else moment.strftime("%Y-%m-%dT%H:%M"),
        moment=moment,
    )
    return environment


def address(page: str, **parameters: Any) -> str:
    """Of a page under ``/ui``; parameters that are None or empty are left out."""
    given = {name: value for name, value in parameters.items() if value not in (None, "")}
    return f"/ui/{page}" + (f"?{urlencode(given)}" if given else "")


@cache
def asset(name: str) -> str:
    """Of a file that comes with the dashboard; another content has another address, so browsers may keep it."""
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]
    return f"/ui/static/{name}?v={digest}"


def moment(value: datetime) -> Markup:
    """``2 May 2024, 14:05`` for people, the exact time for machines."""
    return Markup('<time datetime="{}" title="{} UTC">{} {}, {}</time>').format(
        value.isoformat(),
        value.strftime("%Y-%m-%d %H:%M:%S"),
        value.day,
        value.strftime("%b %Y"),
        value.strftime("%H:%M"),
    )


def clock(value: datetime) -> Markup:
    """The time of a day that is told elsewhere."""
    return Markup('<time datetime="{}" title="{} UTC">{}</time>').format(
        value.isoformat(), value.strftime("%Y-%m-%d %H:%M:%S"), value.strftime("%H:%M")
    )


def day(value: date) -> str:
    return f"{value.strftime('%A')}, {value.day} {value.strftime('%B %Y')}"


def hue(name: str) -> int:
    """The colour a name always has, as a number."""
    return hashlib.blake2b(name.encode(), digest_size=1).digest()[0] % _HUES


def initial(name: str) -> str:
    """Its first letter or digit, else its first character."""
    telling = (c for c in name if unicodedata.category(c)[0] in "LN")
    return next(telling, name[:1]).upper() or "?"
