"""The brain and the two clients are called alike."""

from __future__ import annotations

import inspect

import pytest
from pydantic import BaseModel

from maas.brain import PersonalMemoryBrain
from maas.client import AsyncMaasClient, MaasClient
from maas.requests import (
    ContextRequest,
    DocumentListRequest,
    DocumentRequest,
    KeyRequest,
    ListRequest,
    RecallRequest,
    StoreRequest,
    UpdateRequest,
    UserListRequest,
)

# Arguments that a method takes as **fields are those of its request.
FIELDS: dict[str, type[BaseModel]] = {
    "store": StoreRequest,
    "store_messages": StoreRequest,
    "recall": RecallRequest,
    "context": ContextRequest,
    "list": ListRequest,
    "store_document": DocumentRequest,
    "list_documents": DocumentListRequest,
    "update": UpdateRequest,
    "create_key": KeyRequest,
    "list_users": UserListRequest,
}
METHODS = [
    *(
        "store",
        "store_messages",
        "store_batch",
        "recall",
        "context",
        "store_document",
        "get_document",
        "list_documents",
        "delete_document",
        "get",
        "list",
        "update",
        "delete",
        "history",
    ),
    *("store_document", "get_document", "list_documents", "delete_document"),
    *("erase_user", "export_user", "import_memories", "encode"),
    "list_users",
    *("create_key", "list_keys", "revoke_key", "reindex", "reindex_status", "ready"),
]


def arguments(owner: type, method: str) -> dict[str, object]:
    """Name → default (``inspect.Parameter.empty`` if required) of everything that can be given."""
    found: dict[str, object] = {}
    for name, parameter in inspect.signature(getattr(owner, method)).parameters.items():
        if name == "self":
            continue
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            fields = FIELDS[method].model_fields
            found |= {field: None for field in fields if field not in found}
        else:
            found[name] = None if parameter.default is not inspect.Parameter.empty else inspect.Parameter.empty
    if method == "store_messages":
        found.pop("text", None)
    return found


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("client", [MaasClient, AsyncMaasClient])
def test_arguments_are_the_brains(client: type, method: str) -> None:
    assert arguments(client, method) == arguments(PersonalMemoryBrain, method)


@pytest.mark.parametrize("method", METHODS)
def test_both_clients_are_declared_alike(method: str) -> None:
    sync, other = (inspect.signature(getattr(client, method)) for client in (MaasClient, AsyncMaasClient))
    either = {f"{p.annotation} | Async{p.annotation}": p.annotation for p in sync.parameters.values()}
    asked = [p.replace(annotation=either.get(p.annotation, p.annotation)) for p in other.parameters.values()]
    assert list(sync.parameters.values()) == asked


def test_results_are_declared_as_the_brains() -> None:
    for method in METHODS:
        declared = {
            inspect.signature(getattr(owner, method)).return_annotation for owner in (PersonalMemoryBrain, MaasClient)
        }
        assert len(declared) == 1, (method, declared)


def test_no_public_method_of_the_clients_is_missing_from_the_brain() -> None:
    for client, closing in ((MaasClient, "close"), (AsyncMaasClient, "close")):
        public = {name for name, _ in inspect.getmembers(client, callable) if not name.startswith("_")}
        assert public == {*METHODS, closing}
