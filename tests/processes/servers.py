"""Server processes on one data folder, each at an address of its own, as the workers of one server are."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from maas.client import MaasClient

KEY = "maas_processes_0123456789abcdef"


@contextmanager
def server_processes(folder: Path, count: int, embedder: str = "fake") -> Iterator[list[MaasClient]]:
    """A client of each of ``count`` processes, all ready; ``embedder`` names a FakeEmbedder."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.processes.servers", "maas.api.server", "faiss"])
    processes, clients = [], []
    try:
        for _ in range(count):
            with socket.create_server(("127.0.0.1", 0)) as listener:
                clients.append(MaasClient(f"http://127.0.0.1:{listener.getsockname()[1]}", api_key=KEY, timeout=60))
                processes.append(context.Process(target=serve, args=(folder, listener, embedder), daemon=True))
                processes[-1].start()
        for client in clients:
            client.ready()  # connections wait until it listens
        yield clients
    finally:
        for client in clients:
            client.close()
        for process in processes:
            if process.pid is not None:
                os.kill(process.pid, signal.SIGTERM)
        for process in processes:
            process.join(30)


def serve(folder: Path, listener: socket.socket, embedder: str) -> None:
    import uvicorn

    from maas.api.app import create_app
    from maas.api.logs import configure_logs
    from maas.brain import PersonalMemoryBrain
    from maas.settings import load_settings
    from tests.fakes import FakeEmbedder

    settings = load_settings(data_dir=folder, bootstrap_key=KEY, log={"level": "error"})
    configure_logs(settings.log)
    with PersonalMemoryBrain(settings, embedder=FakeEmbedder(name=embedder)) as brain:
        brain.ensure_bootstrap_key()
        uvicorn.Server(uvicorn.Config(create_app(settings, brain=brain), log_config=None)).run(sockets=[listener])
