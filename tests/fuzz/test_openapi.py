"""Whatever a body, a query or a path holds: no answer is the server's failure, and each is what OpenAPI says of it.

``FUZZ_CASES`` sets how many requests are made in all: ``make fuzz`` makes 10,000.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.testclient import TestClient

from maas import PersonalMemoryBrain
from maas.api.app import create_app
from maas.settings import load_settings
from tests.fakes import FakeEmbedder

CASES = int(os.environ.get("FUZZ_CASES", "300"))
USERS = ("ann", "bob", "a/b %&=#?")
FILTERS = (
    {"metadata.n": {"gte": 1, "lt": 3}},
    {"OR": [{"metadata.a": "b"}, {"NOT": {"key": None}}]},
    {"created_at": {"gt": "2020-01-01T00:00:00Z"}, "role": {"in": ["user", "x"]}},
    {"metadata.a": {"icontains": "%_'\""}},
)
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
    negative_data_rejection,
]
BEGINNING = [{"user_id": user, "text": f"note {n} of {user}", "metadata": {"n": n}} for user in USERS for n in range(9)]


@schemathesis.serializer("application/x-ndjson")
def as_text(_: Any, value: Any) -> bytes:
    return value.encode("utf-8", "replace") if isinstance(value, str) else json.dumps(value).encode()


class Service:
    """A populated service, its key, and how often it answered what."""

    def __init__(self, client: TestClient, brain: PersonalMemoryBrain, key: str) -> None:
        self.client, self.brain, self.key = client, brain, key
        self.answers: Counter[int] = Counter()

    def ids(self, name: str) -> list[str]:
        if name == "key_id":
            return [key.id for key in self.brain.list_keys().results[1:]]
        if name == "document_id":
            return [found.id for user in USERS for found in self.brain.list_documents(user_id=user, limit=3).results]
        return [found.id for user in USERS for found in self.brain.list(user_id=user, limit=3).results]

    def aim(self, case: Any, pick: int) -> None:
        """Let a case that was made of nothing reach what is there: an id, a user, a filter that means something."""
        for name in case.path_parameters or {}:
            known = USERS if name == "user_id" else self.ids(name)
            if known and pick % 4:
                case.path_parameters[name] = known[pick % len(known)]
        if case.media_type == "application/x-ndjson":
            lines = "\n".join(map(json.dumps, self.brain.export_user(USERS[pick % len(USERS)])))
            place = pick % len(lines)
            case.body = lines if pick % 2 else lines[:place] + str(pick) + lines[place + pick % 9 :]
        for fields in (case.query, case.body):
            if isinstance(fields, dict) and "user_id" in fields and pick % 3:
                fields["user_id"] = USERS[pick % len(USERS)]
        if isinstance(case.body, dict) and "filters" in case.body and pick % 2:
            case.body["filters"] = FILTERS[pick % len(FILTERS)]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    chosen = load_settings(data_dir=tmp_path_factory.mktemp("data"))
    with PersonalMemoryBrain(chosen, embedder=FakeEmbedder(dim=32)) as brain:
        first = brain.ensure_bootstrap_key()
        assert first is not None
        brain.store_batch(BEGINNING)
        with TestClient(create_app(chosen, brain=brain)) as client:
            yield Service(client, brain, first.key)


@pytest.mark.timeout(0)
def test_every_answer_is_what_openapi_says_and_none_is_a_failure(service: Service) -> None:
    schema = schemathesis.openapi.from_asgi("/openapi.json", service.client.app)
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) > 20
    faults: dict[tuple[str, str], str] = {}
    while not faults and service.answers.total() < CASES:  # some operations have few cases, however many are asked for
        for operation in operations:
            for mode, share in ((GenerationMode.POSITIVE, 2), (GenerationMode.NEGATIVE, 1)):
                try:
                    fuzz(service, operation, mode, max(1, share * CASES // (2 * len(operations))))
                except Unsatisfiable:
                    pass  # nothing of it can be wrong
                except (AssertionError, BaseExceptionGroup) as error:
                    parts = error.exceptions if isinstance(error, BaseExceptionGroup) else [error]
                    faults[operation.label, mode.value] = "\n".join(map(str, parts))
    assert not faults, "\n\n".join(f"{' '.join(where)}: {what}" for where, what in faults.items())
    assert not [status for status in service.answers if status >= 500]
    assert sum(n for status, n in service.answers.items() if status < 300) > service.answers.total() / 5
    print(f"{service.answers.total():,} answers: {dict(sorted(service.answers.items()))}")


def fuzz(service: Service, operation: Any, mode: GenerationMode, cases: int) -> None:
    @settings(
        max_examples=cases,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode), pick=st.integers(0, 10**6))
    def run(case: Any, pick: int) -> None:
        # Clients resolve a bare "." or ".." away before they ask, and then ask for another route.
        assume(all(str(value).strip(".") for value in (case.path_parameters or {}).values()))
        if mode is GenerationMode.POSITIVE:
            service.aim(case, pick)
        answer = case.call(headers={"Authorization": f"Bearer {service.key}"})
        service.answers[answer.status_code] += 1
        case.validate_response(answer, checks=CHECKS)

    run()
