"""API keys: made once, checked at every call, gone at once."""

from __future__ import annotations

import pytest

from maas import PersonalMemoryBrain, Settings
from maas.errors import AuthenticationError, ConfigError, InvalidInputError, NotFoundError
from tests.conftest import FakeClock
from tests.fakes import FakeEmbedder


def test_a_key_leads_to_its_tenant_until_revoked(brain: PersonalMemoryBrain) -> None:
    view = brain.acting_as("acme", "root")
    new = view.create_key(name="phone", scopes=["read"], user_id="ann")
    known = brain.authenticate(new.key)
    assert (known.tenant, known.scopes, known.user_id, known.id) == ("acme", ["read"], "ann", new.id)
    assert [key.id for key in view.list_keys().results] == [new.id]
    assert brain.list_keys().results == []
    with pytest.raises(NotFoundError):
        brain.revoke_key(new.id)
    first = view.revoke_key(new.id).revoked_at
    assert view.revoke_key(new.id).revoked_at == first
    with pytest.raises(AuthenticationError, match="revoked"):
        brain.authenticate(new.key)


def test_an_expired_key_is_refused(brain: PersonalMemoryBrain, clock: FakeClock) -> None:
    new = brain.create_key(expires_at="2025-03-01T13:00:00Z")
    brain.authenticate(new.key)
    clock.advance(hours=1)
    with pytest.raises(AuthenticationError, match="expired"):
        brain.authenticate(new.key)


def test_wrong_keys_are_refused(brain: PersonalMemoryBrain) -> None:
    new = brain.create_key()
    last = "1" if new.key[-1] == "0" else "0"
    for key in (
        "",
        "x",
        "maas_",
        "maas_a_b",
        new.key[:-1] + last,
        new.key + "0",
        new.key.upper(),
        "maas_é_ü",
        "\ud800",
    ):
        with pytest.raises(AuthenticationError):
            brain.authenticate(key)


def test_the_secret_is_not_in_the_database(brain: PersonalMemoryBrain, settings: Settings) -> None:
    secret = brain.create_key().key.rsplit("_", 1)[1].encode()
    assert not any(secret in file.read_bytes() for file in settings.data_dir.glob("maas.db*"))


def test_bootstrap_makes_one_admin_key(brain: PersonalMemoryBrain) -> None:
    first = brain.ensure_bootstrap_key()
    assert first is not None
    assert brain.authenticate(first.key).scopes == ["read", "write", "admin"]
    assert brain.ensure_bootstrap_key() is None


def test_bootstrap_takes_the_configured_key(settings: Settings) -> None:
    given = "maas_first_0123456789abcdef"
    with PersonalMemoryBrain(settings.model_copy(update={"bootstrap_key": given}), embedder=FakeEmbedder()) as brain:
        made = brain.ensure_bootstrap_key()
        assert made is not None
        assert made.key == given
        assert brain.authenticate(given).id == "first"


def test_bootstrap_refuses_what_is_no_key(settings: Settings) -> None:
    for given in ("secret", "maas_a_short"):
        broken = settings.model_copy(update={"bootstrap_key": given})
        with PersonalMemoryBrain(broken, embedder=FakeEmbedder()) as brain, pytest.raises(ConfigError):
            brain.ensure_bootstrap_key()


def test_bad_requests_are_refused(brain: PersonalMemoryBrain) -> None:
    for fields in ({"scopes": []}, {"scopes": ["root"]}, {"name": ""}, {"colour": 1}):
        with pytest.raises(InvalidInputError):
            brain.create_key(**fields)
