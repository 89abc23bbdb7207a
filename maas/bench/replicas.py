"""Server processes on one store, without a model: its loading would take longer than all the rest."""

from __future__ import annotations

import multiprocessing
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess

from maas.bench.embedder import WordSumEmbedder
from maas.client import MaasClient
from maas.embedders.protocol import Embedder
from maas.errors import MaasError, StorageError
from maas.settings import Settings

KEY = "maas_replicas_0123456789abcdef0123456789abcdef"
START_SECONDS = 120.0


def process_context() -> multiprocessing.context.ForkServerContext:
    """Processes start from one that has the libraries loaded already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "maas.api.server", "faiss"])
    return context


@contextmanager
def replicas(
    context: multiprocessing.context.ForkServerContext,
    settings: Settings,
    count: int = 2,
    embedder: Callable[[], Embedder] = WordSumEmbedder,
) -> Iterator[tuple[list[str], list[BaseProcess]]]:
    """Servers on one store, ready to answer to :data:`KEY`, each with a new ``embedder``; killed at the end.

    Raises:
        StorageError: one does not start.
    """
    here = settings.model_copy(update={"bootstrap_key": KEY})
    processes: list[BaseProcess] = []
    urls = []
    try:
        for _ in range(count):
            with socket.create_server(("127.0.0.1", 0)) as listener:
                urls.append(f"http://127.0.0.1:{listener.getsockname()[1]}")
                processes.append(context.Process(target=_serve, args=(here, embedder, listener), daemon=True))
                processes[-1].start()
        for url in urls:
            _wait_until_ready(url)
        yield urls, processes
    finally:
        for process in processes:
            process.kill()
            process.join()


def _wait_until_ready(url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    with MaasClient(url, api_key=KEY, retries=0) as client:
        while True:
            try:
                client.ready()
            except MaasError as error:
                if time.monotonic() > deadline:
                    raise StorageError(f"a server did not start: {error.detail}") from error
                time.sleep(0.02)
            else:
                return


def _serve(settings: Settings, embedder: Callable[[], Embedder], listener: socket.socket) -> None:
    import uvicorn

    from maas.api.app import create_app
    from maas.api.logs import configure_logs
    from maas.brain import PersonalMemoryBrain

    configure_logs(settings.log.model_copy(update={"level": "error"}))
    with PersonalMemoryBrain(settings, embedder=embedder()) as brain:
        brain.ensure_bootstrap_key()
        app = create_app(settings, brain=brain)
        uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False)).run(sockets=[listener])
