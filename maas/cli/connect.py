"""Opens what a command works on: the data folder, or a server through the SDK."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from maas.cli.options import ApiKeyOption, ApiOption, ConfigOption, DataDirOption, TenantOption
from maas.errors import ConfigError

if TYPE_CHECKING:
    from maas.brain import PersonalMemoryBrain
    from maas.client import MaasClient
    from maas.embedders.protocol import Embedder, Vectors
    from maas.settings import Settings

ACTOR = "cli"


def settings_from(config: Path | None, data_dir: Path | None, **overrides: Any) -> Settings:
    """Settings of ``--config`` and the environment, with ``--data-dir`` over both."""
    from maas.settings import load_settings

    if data_dir is not None:
        overrides["data_dir"] = data_dir
    return load_settings(config, **overrides)


def quiet_logs(settings: Settings) -> None:
    """Logs on stderr: warnings and worse, or everything when ``log.level`` is debug."""
    from maas.api.logs import configure_logs

    quiet = settings.log.model_copy(update={"level": "debug" if settings.log.level == "debug" else "warning"})
    configure_logs(quiet)


class LazyEmbedder:
    """Loads the configured embedder at its first use: most commands on the data folder encode nothing."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loaded: Embedder | None = None

    @property
    def name(self) -> str:
        return self._embedder.name

    @property
    def dim(self) -> int:
        return self._embedder.dim

    @property
    def fingerprint(self) -> str:
        return self._embedder.fingerprint

    def encode(self, texts: Sequence[str]) -> Vectors:
        return self._embedder.encode(texts)

    @property
    def inner(self) -> Embedder:
        return self._embedder

    def close(self) -> None:
        if self._loaded is not None:
            self._loaded.close()

    @property
    def _embedder(self) -> Embedder:
        if self._loaded is None:
            from maas.embedders.factory import build_embedder

            self._loaded = build_embedder(self._settings)
        return self._loaded


@contextmanager
def open_brain(context: typer.Context, settings: Settings, tenant: str = "default") -> Iterator[PersonalMemoryBrain]:
    """The embedded brain on the data folder, closed at the end."""
    from maas.brain import PersonalMemoryBrain

    quiet_logs(settings)
    embedder = context.obj or LazyEmbedder(settings)
    try:
        with PersonalMemoryBrain(settings, embedder=embedder) as brain:
            yield brain.acting_as(tenant, ACTOR)
    finally:
        if context.obj is None:
            embedder.close()


@dataclass(frozen=True)
class Where:
    """Where a command works: on a folder, or through the server at ``api``."""

    context: typer.Context
    tenant: str = "default"
    api: str | None = None
    key: str | None = None
    config: Path | None = None
    data_dir: Path | None = None

    @contextmanager
    def open(self) -> Iterator[PersonalMemoryBrain | MaasClient]:
        """A client of ``api`` if it is given, else the embedded brain."""
        if self.api is None:
            if self.key is not None:
                raise typer.BadParameter("is sent to a server; give --api URL as well", param_hint="--key")
            with open_brain(self.context, settings_from(self.config, self.data_dir), self.tenant) as brain:
                yield brain
            return
        if self.config is not None or self.data_dir is not None:
            raise ConfigError("--api works on a server, --config and --data-dir on a folder; give one or the other")
        from maas.client import MaasClient

        with MaasClient(self.api, api_key=self.key) as client:
            yield client


def with_where(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say where it works; they reach it as its first argument, a :class:`Where`.

    Its own options come before these in the help.
    """

    def run(
        context: typer.Context,
        *,
        tenant: TenantOption = "default",
        api: ApiOption = None,
        key: ApiKeyOption = None,
        config: ConfigOption = None,
        data_dir: DataDirOption = None,
        **own: Any,
    ) -> None:
        command(Where(context, tenant, api, key, config, data_dir), **own)

    context, *shared, _ = inspect.signature(run, eval_str=True).parameters.values()
    _, *own = inspect.signature(command, eval_str=True).parameters.values()
    parameters = [context, *(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own), *shared]
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run


@contextmanager
def throwaway_or_api(
    context: typer.Context, api: str | None, key: str | None, config: Path | None
) -> Iterator[PersonalMemoryBrain | MaasClient]:
    """Where an evaluation stores: a client of ``api``, else a brain on a folder that is removed afterwards."""
    if api:
        with Where(context, api=api, key=key, config=config).open() as target:
            yield target
        return
    with (
        tempfile.TemporaryDirectory(prefix="maas-eval-") as folder,
        open_brain(context, settings_from(config, Path(folder))) as brain,
    ):
        yield brain
