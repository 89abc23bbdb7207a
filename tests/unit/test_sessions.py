"""Signing in to the dashboard: a session is worth what its key is worth, and ends by itself."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import timedelta

import pytest

from maas import PersonalMemoryBrain, Settings
from maas.errors import AuthenticationError
from tests.conftest import FakeClock


def test_a_session_stands_for_its_key(brain: PersonalMemoryBrain, clock: FakeClock) -> None:
    key = brain.acting_as("red", "test").create_key(name="desk", scopes=["read"], user_id="ann")
    opened = brain.open_session(key.key)
    assert opened.expires_at == clock() + timedelta(minutes=480)
    found = brain.session_key(opened.token)
    assert (found.id, found.tenant, found.scopes, found.user_id) == (key.id, "red", ["read"], "ann")


def test_it_ends_when_its_time_is_over_when_it_is_closed_and_with_its_key(
    brain: PersonalMemoryBrain, clock: FakeClock
) -> None:
    keys = [brain.create_key(name=str(n)) for n in range(3)]
    short = brain.create_key(expires_at=clock() + timedelta(minutes=5))
    closed, revoked, lasting = (brain.open_session(key.key).token for key in keys)
    brief = brain.open_session(short.key)
    assert brief.expires_at == short.expires_at
    brain.close_session(closed)
    brain.close_session(closed)
    brain.revoke_key(keys[1].id)
    for token, why in ((closed, "sign in again"), (revoked, "revoked"), ("made up", "sign in again")):
        with pytest.raises(AuthenticationError, match=why):
            brain.session_key(token)
    clock.advance(minutes=5)
    with pytest.raises(AuthenticationError, match="sign in again"):
        brain.session_key(brief.token)
    clock.advance(minutes=475)
    with pytest.raises(AuthenticationError, match="sign in again"):
        brain.session_key(lasting)


def test_nobody_signs_in_with_a_wrong_key(brain: PersonalMemoryBrain) -> None:
    key = brain.create_key().key
    with pytest.raises(AuthenticationError):
        brain.open_session(key[:-1] + ("a" if key[-1] != "a" else "b"))


def test_signing_in_and_out_is_in_the_audit_log(brain: PersonalMemoryBrain) -> None:
    key = brain.create_key(user_id="ann")
    brain.close_session(brain.open_session(key.key).token)
    entries = [(entry.actor, entry.action, entry.user_id) for entry in brain.audit(actor=key.id).results]
    assert entries == [(key.id, "sign out", None), (key.id, "sign in", "ann")]


def test_the_database_cannot_tell_the_token_and_forgets_ended_sessions(
    brain: PersonalMemoryBrain, clock: FakeClock, settings: Settings
) -> None:
    token = brain.open_session(brain.create_key().key).token
    with closing(sqlite3.connect(settings.data_dir / "maas.db")) as database:
        (row,) = database.execute("SELECT * FROM sessions").fetchall()
        assert token.encode() not in b"".join(str(value).encode() for value in row)
        clock.advance(minutes=481)
        brain.purge()
        assert database.execute("SELECT count(*) FROM sessions").fetchone() == (0,)
