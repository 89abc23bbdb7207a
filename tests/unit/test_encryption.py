"""Encryption at rest with the real SQLCipher: nothing readable on disk, and everything else as ever."""

from __future__ import annotations

from pathlib import Path

import pytest

from maas import PersonalMemoryBrain, Settings
from maas.backup import back_up, encrypt, restore
from maas.doctor.examine import examine
from maas.errors import ConfigError, MaasError, UnavailableError
from maas.settings import StorageSettings
from tests.conftest import FakeClock
from tests.fakes import FakeEmbedder

pytest.importorskip("sqlcipher3")

KEY, OTHER = "0123456789abcdef" * 4, "fedcba9876543210" * 4
WORDS = ("zanzibar", "quentin", "pantry-attic")


def under(settings: Settings, key: str | None = None, file: Path | None = None) -> Settings:
    return settings.model_copy(update={"storage": StorageSettings(encryption_key=key, encryption_key_file=file)})


def open_brain(settings: Settings) -> PersonalMemoryBrain:
    return PersonalMemoryBrain(settings, embedder=FakeEmbedder(dim=16))


def fill(settings: Settings) -> None:
    with open_brain(settings) as brain:
        brain.store("the heirloom is a zanzibar chest", user_id="quentin", metadata={"where": "pantry-attic"})
        brain.store_batch([{"text": f"note {n} about the boat", "user_id": "quentin"} for n in range(40)])
        for mode in ("hybrid", "dense", "lexical"):
            assert "zanzibar" in brain.recall("heirloom chest", user_id="quentin", mode=mode).results[0].text


def on_disk(folder: Path) -> list[str]:
    content = b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())
    return [word for word in WORDS if word.encode() in content]


def test_nothing_can_be_read_on_disk_and_everything_by_its_key(settings: Settings, clock: FakeClock) -> None:
    ours = under(settings, KEY)
    with open_brain(ours) as brain:  # open: its log lies there too
        brain.store("the heirloom is a zanzibar chest", user_id="quentin", metadata={"where": "pantry-attic"})
        assert (settings.data_dir / "maas.db-wal").stat().st_size
        assert on_disk(settings.data_dir) == []
        assert brain.recall("zanzibar", user_id="quentin", mode="lexical").results
    assert on_disk(settings.data_dir) == []
    assert not (settings.data_dir / "maas.db").read_bytes().startswith(b"SQLite")
    with open_brain(ours) as brain:
        brain.store("and a second one", user_id="quentin")
        assert brain.recall("zanzibar", user_id="quentin").results[0].metadata == {"where": "pantry-attic"}
        assert brain.erase_user("quentin").wiped
    report = examine(ours, FakeEmbedder(dim=16), clock)
    assert report.healthy, report.findings


@pytest.mark.parametrize("key", [OTHER, None])
def test_without_its_key_it_is_refused_clearly_and_left_alone(settings: Settings, key: str | None) -> None:
    fill(under(settings, KEY))
    kept = (settings.data_dir / "maas.db").read_bytes()
    with pytest.raises(MaasError, match="encrypt"):
        open_brain(under(settings, key))
    assert (settings.data_dir / "maas.db").read_bytes() == kept
    with open_brain(under(settings, KEY)) as brain:
        assert len(brain.list(user_id="quentin").results) == 41


def test_a_key_for_what_is_not_encrypted_is_refused(settings: Settings) -> None:
    fill(settings)
    with pytest.raises(ConfigError, match="maas encrypt"):
        open_brain(under(settings, KEY))


@pytest.mark.parametrize("key", ["", "password", KEY[:-1], "g" * 64])
def test_what_is_no_key_is_refused_without_being_shown(settings: Settings, key: str) -> None:
    with pytest.raises(ConfigError, match="openssl rand -hex 32") as caught:
        open_brain(under(settings, key))
    assert not key or key not in caught.value.detail


def test_the_key_may_lie_in_a_file(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(KEY.upper() + "\n")
    fill(under(settings, file=file))
    fill(under(settings, KEY))
    with pytest.raises(ConfigError, match="both set"):
        open_brain(under(settings, KEY, file))
    with pytest.raises(ConfigError, match="cannot be read"):
        open_brain(under(settings, file=tmp_path / "missing"))


def test_encrypting_rotating_and_decrypting_keep_everything(settings: Settings, clock: FakeClock) -> None:
    fill(settings)
    now: str | None = None
    with open_brain(settings) as brain:
        before = list(brain.export_user("quentin"))[1:]
    for key in (KEY, OTHER, None):
        assert encrypt(under(settings, now), key) == (1, 41)
        now = key
        assert on_disk(settings.data_dir) == ([] if key else list(WORDS))
        with open_brain(under(settings, key)) as brain:
            assert list(brain.export_user("quentin"))[1:] == before
            assert "zanzibar" in brain.recall("heirloom", user_id="quentin", mode="lexical").results[0].text
        assert examine(under(settings, key), FakeEmbedder(dim=16), clock).healthy
    assert [file.name for file in settings.data_dir.iterdir()] == ["maas.db"]


def test_a_database_in_use_is_not_encrypted_under_its_servers(settings: Settings) -> None:
    fill(settings)
    with open_brain(settings) as brain, brain._store.read() as reading:
        next(reading.users())
        with pytest.raises(UnavailableError):
            encrypt(settings.model_copy(update={"storage": StorageSettings(busy_timeout_ms=50)}), KEY)
    with open_brain(settings) as brain:
        assert len(brain.list(user_id="quentin").results) == 41


def test_backups_are_encrypted_as_their_database_is(settings: Settings, tmp_path: Path) -> None:
    ours = under(settings, KEY)
    fill(ours)
    target = tmp_path / "backup.db"
    back_up(ours, target)
    assert on_disk(tmp_path) == []
    with pytest.raises(ConfigError):
        restore(under(settings, OTHER), target, replace=True)
    report = restore(ours, target, replace=True)
    assert report.manifest.memories == 41
    with open_brain(ours) as brain:
        assert "zanzibar" in brain.recall("heirloom", user_id="quentin").results[0].text
