"""The REST reference, as a page: every operation and schema of the service's own OpenAPI description."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]

INTRODUCTION = """\
# REST reference

Generated from the OpenAPI description that a running server gives under `/openapi.json`. [REST](../api.md) explains
what a schema cannot. Every operation takes `Authorization: Bearer maas_…` or `X-API-Key: maas_…` unless it says
otherwise.
"""


def reference() -> str:
    """The whole page, in Markdown."""
    from maas.api.app import create_app
    from maas.settings import Settings

    return "\n".join(_page(create_app(Settings()).openapi())) + "\n"


def _page(description: Schema) -> Iterator[str]:
    yield INTRODUCTION
    operations = [
        (operation["tags"][0], method.upper(), path, operation)
        for path, item in description["paths"].items()
        for method, operation in item.items()
    ]
    for tag in dict.fromkeys(tag for tag, *_ in operations):
        yield f"## {tag.capitalize()}\n"
        for own, method, path, operation in operations:
            if own == tag:
                yield from _operation(method, path, operation)
    yield "## Failures\n"
    yield f"Every operation may answer with a [Problem](#{_anchor('Problem')}) as `application/problem+json`:\n"
    yield "| status | when |\n|---|---|"
    failures = {s: a for *_, operation in operations for s, a in operation["responses"].items() if int(s) >= 400}
    yield from (f"| {status} | {answer['description']} |" for status, answer in sorted(failures.items()))
    yield "\n## Schemas\n"
    for name, schema in sorted(description["components"]["schemas"].items()):
        yield from _schema(name, schema)


def _operation(method: str, path: str, operation: Schema) -> Iterator[str]:
    yield f"### `{method} {path}` {{#{operation['operationId']}}}\n"
    yield _text(operation.get("description", ""))
    if operation.get("security") == []:
        yield "\nNo key is needed."
    if parameters := operation.get("parameters"):
        yield "\n| parameter | in | type | | meaning |\n|---|---|---|---|---|"
        for parameter in parameters:
            schema = parameter.get("schema") or parameter["content"]["application/json"]["schema"]
            json_in_text = " as JSON" if "content" in parameter else ""
            need = "required" if parameter.get("required") else _default(schema)
            meaning = _cell(parameter.get("description") or schema.get("description", ""))
            yield (
                f"| `{parameter['name']}` | {parameter['in']} | {_type(schema)}{json_in_text} | {need} | {meaning} |"
            )
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        yield f"\nBody: {_type(content['schema'])}, `{media}`."
        if example := content.get("example"):
            yield f"\n```json\n{json.dumps(example, ensure_ascii=False, indent=2)}\n```"
    for status, answer in operation["responses"].items():
        if int(status) < 400:
            yield f"\n{_answer(status, answer)}"
    yield ""


def _answer(status: str, answer: Schema) -> str:
    schema = next((content.get("schema", {}) for content in answer.get("content", {}).values()), {})
    media = next(iter(answer.get("content", {})), "")
    said = "" if answer["description"] == "Successful Response" else f" {answer['description']}."
    kind = f" {_type(schema)}" if schema else ""
    return f"Answers {status}:{kind}{f' `{media}`' if media != 'application/json' else ''}.{said}".replace(":.", ".")


def _schema(name: str, schema: Schema) -> Iterator[str]:
    yield f"### {name} {{#{_anchor(name)}}}\n"
    yield _text(schema.get("description", "").partition("\n\nAttributes:")[0])
    yield "\n| field | type | | meaning |\n|---|---|---|---|"
    for field, inner in schema.get("properties", {}).items():
        need = "required" if field in schema.get("required", []) else _default(inner)
        yield f"| `{field}` | {_type(inner)} | {need} | {_cell(inner.get('description', ''))} |"
    yield ""


def _type(schema: Schema) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{_anchor(name)})"
    if "enum" in schema or "const" in schema:
        return " or ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(dict.fromkeys(map(_type, choices)))
    kind = schema.get("type", "anything")
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}{_range(schema, 'Items')}"
    if kind == "string" and "format" in schema:
        return {"date-time": "ISO 8601 time"}.get(schema["format"], schema["format"])
    return f"{kind}{_range(schema, 'imum')}{_range(schema, 'Length')}"


def _range(schema: Schema, bound: str) -> str:
    low, high = schema.get(f"min{bound}"), schema.get(f"max{bound}")
    unit = {"Items": " items", "Length": " characters", "imum": ""}[bound]
    if low is None and high is None:
        return ""
    if high is None:
        return f", {low}{unit} or more"
    return f", {high}{unit} at most" if low is None else f", {low} to {high}{unit}"


def _default(schema: Schema) -> str:
    if "default" not in schema or schema["default"] is None:
        return ""
    return f"default `{json.dumps(schema['default'], ensure_ascii=False)}`"


def _anchor(name: str) -> str:
    return f"schema-{name.lower()}"


def _text(text: str) -> str:
    """A docstring as Markdown."""
    return text.replace("``", "`").strip()


def _cell(text: str) -> str:
    return " ".join(_text(text).split()).replace("|", "\\|")
