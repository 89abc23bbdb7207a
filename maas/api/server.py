"""``maas serve``: check, bind, announce, run, and stop in good order."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import sys
import tempfile
import threading
from functools import partial
from types import FrameType
from typing import Any

import httpx2
import uvicorn
from fastapi import FastAPI
from pydantic import TypeAdapter
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from maas.api.app import create_app
from maas.api.logs import configure_logs
from maas.api.network import is_loopback
from maas.api.patience import PatientProtocol
from maas.brain import PersonalMemoryBrain
from maas.errors import ConfigError
from maas.settings import ServerSettings, Settings

WORKER_SETTINGS = "_MAAS_WORKER_SETTINGS"  # without the public prefix, whose unknown names are refused
BACKLOG = 2048
GRACE_SECONDS = 30


def serve(settings: Settings) -> None:
    """Run the REST service until SIGINT or SIGTERM; requests under way are finished.

    Raises:
        ConfigError: authentication is off on an address others can reach, the port is taken, the address is not
            this machine's, the data folder cannot be written, or the embedder cannot be loaded.
    """
    configure_logs(settings.log)
    check(settings)
    with bind(settings.server.host, settings.server.port) as listener:
        if settings.server.workers == 1:
            _serve_here(settings, listener)
        else:
            _serve_in_workers(settings, listener)


def check(settings: Settings) -> None:
    """Refuse to start with settings that are unsafe or cannot work."""
    host = settings.server.host
    if not settings.auth.enabled and not is_loopback(host):
        raise ConfigError(
            f"auth.enabled is false while server.host is {host!r}: anyone who reaches it could read every memory; "
            "bind 127.0.0.1 or set auth.enabled to true"
        )
    try:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=settings.data_dir):
            pass
    except OSError as error:
        raise ConfigError(
            f"the data folder {settings.data_dir} cannot be written: {error.strerror}; "
            "set data_dir (MAAS_DATA_DIR) to a folder this user may write"
        ) from None


def bind(host: str, port: int) -> socket.socket:
    """A listening socket on ``host``; port 0 takes a free one."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise ConfigError(f"server.host {host!r} is no address of this machine: {error.strerror}") from None
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)  # only listening claims the port for certain
    except OSError as error:
        listener.close()
        raise ConfigError(_why_not_bound(host, port, error)) from None
    return listener


def address_of(listener: socket.socket) -> str:
    """Where ``listener`` is reached, such as ``http://127.0.0.1:8000``."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def announce_first_key(brain: PersonalMemoryBrain) -> None:
    """On a data folder without keys, make the first and print it: nothing else will ever show it."""
    key = brain.ensure_bootstrap_key() if brain.settings.auth.enabled else None
    if key is not None and brain.settings.bootstrap_key is None:
        _say(f"first API key, shown only once, with all scopes: {key.key}")


class _Server(uvicorn.Server):
    """Says where it listens once it can answer."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and sockets:
            _say(f"maas is listening on {address_of(sockets[0])}")


def _serve_here(settings: Settings, listener: socket.socket) -> None:
    stopped = signal.signal(signal.SIGTERM, _exit) if _in_main_thread() else None
    try:
        with PersonalMemoryBrain(settings) as brain:
            announce_first_key(brain)
            _Server(server_config(settings.server, create_app(settings, brain=brain))).run(sockets=[listener])
    except (KeyboardInterrupt, SystemExit) as stop:
        if isinstance(stop, SystemExit) and stop.code:
            raise
    finally:
        if stopped is not None:
            signal.signal(signal.SIGTERM, stopped)


def _serve_in_workers(settings: Settings, listener: socket.socket) -> None:
    os.environ[WORKER_SETTINGS] = settings.model_dump_json()
    try:
        config = server_config(settings.server, f"{__name__}:worker_app", workers=settings.server.workers, factory=True)
        supervisor = Multiprocess(config, sockets=[listener])
        threading.Thread(target=_say_when_answered, args=(address_of(listener),), daemon=True).start()
        supervisor.run()
    finally:
        del os.environ[WORKER_SETTINGS]
    if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes):
        raise ConfigError("a worker could not start; the log above says why")


def worker_app() -> FastAPI:
    """The application inside a worker process, with the settings its parent started with."""
    sections: dict[str, Any] = json.loads(os.environ[WORKER_SETTINGS])
    # Constructed, not read: files and variables were read and merged by the parent.
    kinds: dict[str, Any] = {name: field.annotation for name, field in Settings.model_fields.items()}
    validated = {name: TypeAdapter(kinds[name]).validate_python(value) for name, value in sections.items()}
    settings = Settings.model_construct(**validated)
    configure_logs(settings.log)

    return create_app(settings, on_ready=announce_first_key)


def _say_when_answered(url: str) -> None:
    """Connections wait in the listener's backlog, so one request is answered by the first worker that is ready."""
    try:
        httpx2.get(f"{url}/healthz", timeout=None, trust_env=False)
    except httpx2.TransportError:
        return  # stopped before any worker was ready
    _say(f"maas is listening on {url}")


def server_config(
    server: ServerSettings, app: FastAPI | str, *, workers: int = 1, factory: bool = False
) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=partial(PatientProtocol, patience_seconds=server.patience_seconds),  # type: ignore[arg-type]
        ws="none",
        workers=workers,
        factory=factory,
        log_config=None,
        access_log=False,  # the service logs its own line, without people's ids
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_worker_healthcheck=120,  # a worker loads its model before it answers
    )


def _why_not_bound(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is in use; stop what holds it, or set server.port (MAAS_SERVER__PORT)"
    return f"cannot listen on {host} port {port}: {error.strerror}; set server.host and server.port"


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _exit(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
