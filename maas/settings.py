"""Settings: config.yaml < MAAS_* environment (``__`` nests) < arguments. Unknown keys are refused by name."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    YamlConfigSettingsSource,
)

from maas.errors import ConfigError

ENV_PREFIX = "MAAS_"
Cosine = Annotated[float, Field(gt=0, le=1)]
Weight = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
PositiveInt = Annotated[int, Field(ge=1)]
SecretKind = Literal["card", "email", "key", "phone"]
# YAML reads a bare `off` as false.
RedactionMode = Annotated[
    Literal["off", "block", "mask"], BeforeValidator(lambda value: "off" if value is False else value)
]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ServerSettings(Section):
    host: str = Field("127.0.0.1", description="Address to bind; anything but loopback needs auth.")
    port: int = Field(8000, ge=0, le=65535, description="Port to bind; 0 takes a free one.")
    workers: PositiveInt = Field(1, description="Server processes sharing the data folder.")
    threads: PositiveInt = Field(64, description="Requests a process works on at once.")
    max_body_bytes: PositiveInt = Field(16_000_000, description="Larger request bodies are answered 413.")
    patience_seconds: Annotated[float, Field(gt=0)] = Field(
        30.0,
        description="How long headers may take to come, or a body with less than 10 kB a second; then 408.",
    )
    requests_per_minute: int = Field(
        0, ge=0, description="Requests of one key in any minute, in each worker; more are answered 429. 0: no limit."
    )
    ui: bool = Field(True, description="Serve the dashboard under `/ui`.")
    ui_session_minutes: PositiveInt = Field(
        480, le=43_200, description="How long a sign-in to the dashboard lasts; it ends with its key in any case."
    )


class AuthSettings(Section):
    enabled: bool = Field(True, description="Require an API key; false only while bound to loopback.")


class EmbedderSettings(Section):
    backend: Literal["auto", "deltanet", "lam", "remote", "sentence-transformers"] = Field(
        "auto",
        description="auto: the first that loads of lam, deltanet, sentence-transformers. remote: another maas server.",
    )
    lam_path: Path = Field(
        Path("dist/lam-base-v1"), description="Folder of the lam-base-v1 bundle; `make serve` builds this one."
    )
    deltanet_checkpoint: Path | None = Field(None, description="LAM checkpoint; unset: the released weights.")
    deltanet_teacher: Path | None = Field(None, description="Base model folder; unset: the packaged MiniLM.")
    sentence_transformers_model: str | None = Field(
        None, description="Model folder, or a name in the local cache; unset: the packaged all-MiniLM-L6-v2."
    )
    remote_url: str | None = Field(
        None, description="remote: address of the maas server that encodes, such as `http://encoder:8000`."
    )
    remote_key: str | None = Field(None, description="remote: a key of that server with the scope read.")
    remote_key_file: Path | None = Field(
        None, description="remote: file that holds the key, read at the start; instead of `embedder.remote_key`."
    )
    remote_timeout_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        30.0, description="remote: how long to wait for a connection, and for each part of an answer."
    )
    remote_retries: int = Field(
        2, ge=0, le=20, description="remote: how often to ask again when nothing answered, or 429, 502, 503, 504 did."
    )
    remote_requests: int = Field(4, ge=1, le=64, description="remote: requests under way at once.")
    batch_tokens: PositiveInt = Field(2048, description="Padded tokens encoded in one batch at most.")
    queue_texts: PositiveInt = Field(4096, description="Texts waiting to be encoded before 503 is answered.")


class StorageSettings(Section):
    url: str | None = Field(
        None,
        description="Where memories are kept: `sqlite:///path`, or `postgresql+psycopg://user:password@host/name`; "
        "unset: SQLite in the data folder.",
    )
    connections: PositiveInt = Field(16, description="Connections to PostgreSQL that a process opens at most.")
    exact_up_to: int = Field(
        50_000,
        ge=0,
        description="Vectors of one user that are compared one by one. Beyond, candidates are chosen first: on SQLite"
        " by a sketch in memory, on PostgreSQL by the index that `maas tune` makes. 0: always one by one.",
    )
    durability: Literal["normal", "full"] = Field(
        "normal", description="normal survives a crash of the process, full a loss of power as well."
    )
    busy_timeout_ms: PositiveInt = Field(
        10_000, description="How long a writer waits for another, and a request for a connection to PostgreSQL."
    )
    encryption_key: str | None = Field(
        None, description="64 hexadecimal digits; the database is encrypted with them (extra `sqlcipher`)."
    )
    encryption_key_file: Path | None = Field(
        None, description="File that holds the key, read at the start; instead of `storage.encryption_key`."
    )
    cache_bytes: int = Field(
        512_000_000, ge=0, description="Memory for per-user vector indexes; least recently used go."
    )
    purge_minutes: int = Field(
        60, ge=0, description="How often a server removes for good what has expired or was deleted; 0: never by itself."
    )


class AuditSettings(Section):
    keep_days: int = Field(
        365, ge=0, le=36_500, description="Audit entries older than this are purged; 0: kept for ever."
    )


class DedupeSettings(Section):
    same_meaning: Cosine = Field(
        0.95, description="From this cosine on, `dedupe: semantic` takes a text for one already there."
    )
    similar: Cosine = Field(0.6, description="From this cosine on, a memory is listed as `similar` when one is stored.")


class RedactionSettings(Section):
    mode: RedactionMode = Field(
        "off",
        description="What becomes of secrets in what is stored: off keeps them, block refuses them (422), mask puts"
        " `[card]` in their place (extra `redaction`).",
    )
    kinds: Annotated[tuple[SecretKind, ...], Field(min_length=1)] = Field(
        ("card", "email", "key", "phone"),
        description="What is a secret: numbers of cards and phones, e-mail addresses, keys that open something.",
    )
    phone_region: str | None = Field(
        None,
        description="Country, such as `US`, whose phone numbers are found without `+` and country code too; unset: only"
        " with them.",
    )


class RecallSettings(Section):
    candidates: PositiveInt = Field(200, description="Hits each part contributes to the fusion.")
    time_weight: Weight = Field(
        2.0, description="In a time that the question names, the odds of a memory are 1 + this; 0: dates do not count."
    )
    recency_weight: Weight = Field(
        0.0, description="The odds of a memory stored now are 1 + this; 0: age does not count."
    )
    recency_half_life_days: Annotated[float, Field(gt=0)] = Field(
        30.0, description="After so many days a memory has half of the recency it began with."
    )
    importance_weight: Weight = Field(
        0.5, description="An importance of 1 multiplies the odds by 1 + this, 0 divides them, 0.5 or none leaves them."
    )


class LogSettings(Section):
    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severity logged.")
    format: Literal["console", "json"] = Field("console", description="Lines for people, or JSON for machines.")


class TracingSettings(Section):
    endpoint: str | None = Field(
        None,
        description="OTLP/HTTP address for traces, such as `http://127.0.0.1:4318/v1/traces`; unset: none are made.",
    )


class Settings(BaseSettings):
    """Everything maas can be told. Build it with :func:`load_settings`."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, validate_default=True
    )

    data_dir: Path = Field(Path("data"), description="Folder of the database and caches.")
    bootstrap_key: str | None = Field(
        None, description="First admin key, `maas_<id>_<secret>`, for unattended set-ups; unset: made and printed once."
    )
    server: ServerSettings = Field(default_factory=ServerSettings)
    auth: AuthSettings = Field(default_factory=AuthSettings)
    embedder: EmbedderSettings = Field(default_factory=EmbedderSettings)
    storage: StorageSettings = Field(default_factory=StorageSettings)
    audit: AuditSettings = Field(default_factory=AuditSettings)
    dedupe: DedupeSettings = Field(default_factory=DedupeSettings)
    redaction: RedactionSettings = Field(default_factory=RedactionSettings)
    recall: RecallSettings = Field(default_factory=RecallSettings)
    log: LogSettings = Field(default_factory=LogSettings)
    tracing: TracingSettings = Field(default_factory=TracingSettings)

    @property
    def database_url(self) -> str:
        return self.storage.url or f"sqlite:///{self.data_dir / 'maas.db'}"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings, env_settings, YamlConfigSettingsSource(settings_cls))


def load_settings(config: str | Path | None = None, **overrides: Any) -> Settings:
    """Read ``config`` (default: ./config.yaml if it is there), then the environment, then ``overrides``.

    Args:
        config: path of a YAML file; naming one that is missing is an error.
        overrides: nested mappings, e.g. ``server={"port": 0}``.

    Raises:
        ConfigError: a file that is no YAML mapping, an unknown key (named, with the nearest valid one), a bad value.
    """
    path = Path(config) if config is not None else Path("config.yaml")
    if config is not None and not path.is_file():
        raise ConfigError(f"the configuration file {path} does not exist; create it or leave --config out")
    _refuse_unknown_file_keys(path)
    _refuse_unknown_variables()

    class FromFile(Settings):
        model_config = SettingsConfigDict(yaml_file=path if path.is_file() else None)

    try:
        return Settings.model_construct(**dict(FromFile(**overrides)))
    except ValidationError as error:
        raise ConfigError(f"{_source(path)}: {_describe(error)}") from None
    except SettingsError as error:
        raise ConfigError(f'environment: {error}; expected JSON, a list as \'["a", "b"]\'') from None


def setting_names(model: type[BaseModel] = Settings, prefix: str = "") -> Iterator[str]:
    """Every settable key, dotted: ``data_dir``, ``server.port``, …"""
    for name, field in model.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            yield from setting_names(section, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _refuse_unknown_file_keys(path: Path) -> None:
    if not path.is_file():
        return
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no valid YAML: {error}") from None
    if content is None:
        return
    if not isinstance(content, Mapping):
        raise ConfigError(f"{path} holds a {type(content).__name__}; expected keys such as data_dir, server, embedder")
    known = set(setting_names())
    for key in _leaves(content):
        if key not in known and not any(name.startswith(f"{key}.") for name in known):
            raise ConfigError(f"{path}: unknown key {key!r}{_nearest(key, known)}")


def _refuse_unknown_variables() -> None:
    known = {ENV_PREFIX + name.replace(".", "__").upper() for name in setting_names()}
    sections = {name.rsplit("__", 1)[0] for name in known if "__" in name}
    for variable in os.environ:
        name = variable.upper()
        if name.startswith(ENV_PREFIX) and name not in known and name not in sections:
            raise ConfigError(f"unknown environment variable {variable!r}{_nearest(name, known)}")


def _leaves(content: Mapping[Any, Any], prefix: str = "") -> Iterator[str]:
    for key, value in content.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _nearest(key: str, known: set[str]) -> str:
    match = difflib.get_close_matches(key, sorted(known), n=1, cutoff=0.5)
    return f"; did you mean {match[0]!r}?" if match else f"; known are {', '.join(sorted(known))}"


def _source(path: Path) -> str:
    return f"{path} and the environment" if path.is_file() else "the environment"


def _describe(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']} (found {fault.get('input')!r})"
        for fault in error.errors(include_url=False)[:3]
    )
