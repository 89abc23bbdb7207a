"""A real server on a free loopback port, for tests that speak HTTP."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import uvicorn

from maas.api.app import create_app
from maas.api.server import address_of, bind, server_config
from maas.brain import Clock, PersonalMemoryBrain, utc_now
from maas.embedders.protocol import Embedder
from maas.settings import load_settings
from tests.fakes import FakeEmbedder


@dataclass
class Live:
    """A running server: its address, its brain, and its first key."""

    url: str
    brain: PersonalMemoryBrain
    admin_key: str

    def http(self, key: str | None = "") -> httpx2.Client:
        """A bare client; with the first key unless told otherwise, None for no key."""
        key = self.admin_key if key == "" else key
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        return httpx2.Client(base_url=self.url, headers=headers, timeout=30)

    def key(self, tenant: str = "default", **fields: Any) -> str:
        return self.brain.acting_as(tenant, "test").create_key(**fields).key


@contextmanager
def serving(
    folder: Path, embedder: Embedder | None = None, *, clock: Clock = utc_now, **overrides: Any
) -> Iterator[Live]:
    settings = load_settings(data_dir=folder, **overrides)
    with PersonalMemoryBrain(settings, embedder=embedder or FakeEmbedder(), clock=clock) as brain:
        first = brain.ensure_bootstrap_key()
        listener = bind("127.0.0.1", 0)
        server = uvicorn.Server(server_config(settings.server, create_app(settings, brain=brain)))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            url = address_of(listener)
            httpx2.get(f"{url}/healthz", timeout=30).raise_for_status()
            yield Live(url, brain, first.key if first else "")
        finally:
            server.should_exit = True
            thread.join(30)
            listener.close()


def someone() -> str:
    """A user nobody else in the run has."""
    return f"user-{uuid.uuid4().hex}"
