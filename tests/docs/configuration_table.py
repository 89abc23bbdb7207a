"""The table in docs/configuration.md, from the settings themselves: python -m tests.docs.configuration_table"""

from __future__ import annotations

import json
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from maas.settings import ENV_PREFIX, Settings

HEADER = ["| Key | Default | Environment | Meaning |", "|---|---|---|---|"]


def table() -> list[str]:
    return [*HEADER, *rows(Settings, "")]


def rows(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        key = prefix + name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from rows(field.annotation, f"{key}.")
            continue
        variable = ENV_PREFIX + key.replace(".", "__").upper()
        meaning = str(field.description)
        if allowed := choices(field.annotation):
            meaning += f" One of {', '.join(f'`{choice}`' for choice in allowed)}."
        yield f"| `{key}` | {shown(field.default)} | `{variable}` | {meaning} |"


def choices(annotation: Any) -> tuple[str, ...]:
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    if get_origin(annotation) in (Annotated, Union, tuple, types.UnionType):
        return tuple(choice for part in get_args(annotation) for choice in choices(part))
    return ()


def shown(default: object) -> str:
    if default is None:
        return "unset"
    if isinstance(default, tuple):
        return f"`{json.dumps(default)}`"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


if __name__ == "__main__":
    print("\n".join(table()))
