from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import ValidationError

from maas.errors import ConfigError
from maas.settings import Settings, load_settings, setting_names


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working folder, and an environment that sets nothing."""
    monkeypatch.chdir(tmp_path)
    for variable in [name for name in os.environ if name.upper().startswith("MAAS_")]:
        monkeypatch.delenv(variable)


def write(text: str, name: str = "config.yaml") -> Path:
    path = Path(name)
    path.write_text(text, encoding="utf-8")
    return path


def test_without_anything_the_defaults_hold() -> None:
    settings = load_settings()
    assert (settings.server.host, settings.server.port, settings.auth.enabled) == ("127.0.0.1", 8000, True)
    assert settings.embedder.backend == "auto"
    assert settings.database_url == f"sqlite:///{Path('data') / 'maas.db'}"


def test_the_file_in_the_working_folder_is_read() -> None:
    write("data_dir: elsewhere\nserver:\n  port: 9000\n")
    settings = load_settings()
    assert (settings.data_dir, settings.server.port, settings.server.host) == (Path("elsewhere"), 9000, "127.0.0.1")


def test_file_then_environment_then_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("server: {host: 127.0.0.2, port: 1, threads: 2}\nlog: {level: error}\n", "mine.yaml")
    monkeypatch.setenv("MAAS_SERVER__PORT", "3")
    monkeypatch.setenv("MAAS_SERVER__THREADS", "4")
    server = load_settings(path, server={"threads": 5}).server
    assert (server.host, server.port, server.threads) == ("127.0.0.2", 3, 5)
    assert load_settings(path).log.level == "error"


def test_a_url_replaces_the_data_folder() -> None:
    assert load_settings(storage={"url": "sqlite:///other.db"}).database_url == "sqlite:///other.db"


@pytest.mark.parametrize("content", ["", "# nothing but a remark\n", "{}\n", "server: {}\n"])
def test_an_empty_file_is_all_defaults(content: str) -> None:
    assert load_settings(write(content)) == Settings()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("embedder: {backnd: lam}", r"unknown key 'embedder.backnd'; did you mean 'embedder.backend'\?"),
        ("sever: {port: 1}", r"unknown key 'sever.port'; did you mean 'server.port'\?"),
        ("xyzzy: 1", r"unknown key 'xyzzy'; known are .*auth.enabled, .*"),
        ("server: {port: {nested: 1}}", r"unknown key 'server.port.nested'; did you mean 'server.port'\?"),
        ("5: 1", "unknown key '5'"),
        ("server: {port: eighty}", r"server.port: .*integer.* \(found 'eighty'\)"),
        ("server: {port: 70000}", r"server.port: .*less than or equal to 65535.* \(found 70000\)"),
        ("server: {threads: 0}", r"server.threads: .*greater than or equal to 1"),
        ("server: 80", "server: .*dictionary"),
        ("embedder: {backend: word2vec}", r"embedder.backend: .*'lam'.* \(found 'word2vec'\)"),
        ("storage: {durability: none}", "storage.durability"),
        ("- a\n- b", "holds a list; expected keys such as data_dir"),
        ("server: [", "is no valid YAML"),
        ("just words", "holds a str"),
    ],
)
def test_a_bad_file_is_one_clear_line(content: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        load_settings(write(content))
    assert "config.yaml" in refused.value.detail


def test_a_file_that_is_no_text_is_refused() -> None:
    Path("config.yaml").write_bytes(b"\xff\xfe\x00data")
    with pytest.raises(ConfigError, match="is no valid YAML"):
        load_settings()


def test_a_named_file_must_exist() -> None:
    with pytest.raises(ConfigError, match="gone.yaml does not exist"):
        load_settings("gone.yaml")


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        ("MAAS_SERVER__PRT", "unknown environment variable 'MAAS_SERVER__PRT'; did you mean 'MAAS_SERVER__PORT'"),
        ("MAAS_DATADIR", "did you mean 'MAAS_DATA_DIR'"),
        ("MAAS_SERVER_PORT", "did you mean 'MAAS_SERVER__PORT'"),
    ],
)
def test_a_misspelt_variable_is_named(monkeypatch: pytest.MonkeyPatch, variable: str, message: str) -> None:
    monkeypatch.setenv(variable, "1")
    with pytest.raises(ConfigError, match=message):
        load_settings()


def test_a_bad_value_in_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAAS_AUTH__ENABLED", "perhaps")
    with pytest.raises(ConfigError, match=r"auth.enabled: .*boolean.* \(found 'perhaps'\)"):
        load_settings()


def test_a_list_in_the_environment_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAAS_REDACTION__KINDS", "card")
    with pytest.raises(ConfigError, match=r"environment: .*redaction.* expected JSON"):
        load_settings()


def test_an_unknown_argument_is_refused() -> None:
    with pytest.raises(ConfigError, match="prot"):
        load_settings(server={"prot": 1})


def test_settings_do_not_change_after_loading() -> None:
    settings = load_settings()
    with pytest.raises(ValidationError):
        settings.server.port = 1  # type: ignore[misc]


def test_names_cover_every_leaf() -> None:
    names = list(setting_names())
    assert len(names) == len(set(names))
    assert {"data_dir", "server.port", "embedder.backend", "storage.durability", "log.format"} <= set(names)
    assert "server" not in names


@given(key=st.from_regex(r"[a-z_]{1,12}(\.[a-z_]{1,12})?", fullmatch=True).filter(lambda key: key[0] != "_"))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_key_is_either_known_or_refused_by_name(key: str) -> None:
    section, _, leaf = key.partition(".")
    path = write(f"'{section}': {{'{leaf}': null}}\n" if leaf else f"'{section}': null\n")
    if key in set(setting_names()) | {name.partition(".")[0] for name in setting_names()}:
        return
    with pytest.raises(ConfigError, match=f"unknown key '{key}'"):
        load_settings(path)
