"""What is taken for a secret, and what is not."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from maas.demo.tour import shipped_conversation
from maas.errors import ConfigError
from maas.redaction import Redactor, build_redactor
from maas.settings import RedactionSettings
from tests.redaction.secrets import HARMLESS, PEM, SECRETS


def built(**settings: object) -> Redactor:
    redactor = build_redactor(RedactionSettings.model_validate({"mode": "mask", **settings}))
    assert redactor is not None
    return redactor


MASKS = built()
NO_CARDS = built(kinds=["email", "key", "phone"], phone_region="US")
REGIONS = {region: built(phone_region=region) for region in (None, "US", "DE")}
ALL = [(kind, secret) for kind, secrets in SECRETS.items() for secret in secrets]
PROSE = st.sampled_from([*HARMLESS, "", "before", "Ring her, she said: ", "(see ", "\n", "größer als 3 ", "日本語"])


@pytest.mark.parametrize(("kind", "secret"), ALL)
def test_a_secret_is_masked_whole_wherever_it_stands(kind: str, secret: str) -> None:
    for before, after in (("", ""), ("my ", " is it"), ("(", ")"), ("it: ", ", and"), ("«", "»."), ("12/27 ", "\n7")):
        assert MASKS.mask(f"{before}{secret}{after}") == f"{before}[{kind}]{after}"


@pytest.mark.parametrize(("kind", "secret"), ALL)
def test_a_secret_is_masked_and_no_more_in_scripts_without_spaces(kind: str, secret: str) -> None:
    for before, after in (("卡号", "是我的"), ("カードは", "です"), ("카드", "입니다")):
        if kind != "phone":
            assert MASKS.mask(f"{before}{secret}{after}") == f"{before}[{kind}]{after}"


@pytest.mark.parametrize("after", [" 12/27", " 123", "-1", " 3 days ago", " 123 is the code"])
def test_another_number_behind_a_card_is_not_the_cards(after: str) -> None:
    gap = after[0]
    card = gap.join(["4111", "1111", "1111", "1111"])
    assert MASKS.mask(f"my card is {card}{after}") == f"my card is [card]{after}"


@pytest.mark.parametrize("before", ["JWT=", "https://h/?access_token=", "/", "TOKEN=", "GOOGLE_KEY_"])
def test_keys_as_addresses_and_env_files_hold_them(before: str) -> None:
    keys = [secret for secret in SECRETS["key"] if secret.startswith(("eyJ", "sk-"))]
    assert len(keys) >= 2
    for key in keys if before != "GOOGLE_KEY_" else ["AIza" + "b" * 35]:
        assert MASKS.mask(f"{before}{key} and on") == f"{before}[key] and on"


def test_a_mention_of_a_key_takes_nothing_of_another_with_it() -> None:
    public = "-----BEGIN PUBLIC KEY-----\nabc\n-----END PUBLIC KEY-----"
    text = f"The header reads -----BEGIN PRIVATE KEY----- and we were puzzled. Hers is\n{public}\nbye"
    assert "and we were puzzled" in MASKS.mask(text)
    assert MASKS.mask(f"-----BEGIN PRIVATE KEY----- is how it begins. {PEM} bye").endswith("begins. [key] bye")


@pytest.mark.parametrize("text", HARMLESS)
@pytest.mark.parametrize("region", REGIONS)
def test_what_only_looks_like_one_survives(text: str, region: str | None) -> None:
    assert REGIONS[region].mask(text) == text


def test_a_conversation_survives() -> None:
    for turn in shipped_conversation().turns:
        assert MASKS.mask(turn.text) == turn.text


@given(st.lists(st.tuples(PROSE, st.sampled_from(ALL)), max_size=5))
@hypothesis_settings(max_examples=30)
@example([("", ("card", "4111 1111 1111 1111")), (" ", ("card", "4111 1111 1111 1111"))])
def test_nothing_of_any_secret_is_left_and_masking_again_changes_nothing(
    parts: list[tuple[str, tuple[str, str]]],
) -> None:
    text = " ".join(f"{prose} {secret} ;" for prose, (_, secret) in parts)
    masked = MASKS.mask(text)
    assert masked == " ".join(f"{prose} [{kind}] ;" for prose, (kind, _) in parts)
    assert MASKS.mask(masked) == masked


@given(st.text())
@hypothesis_settings(max_examples=50)
def test_any_text_is_either_left_or_masked_for_good(text: str) -> None:
    once = MASKS.mask(text)
    assert MASKS.mask(once) == once


@given(st.text(st.sampled_from("4101-. @ab+k_:/=eyJ\n"), max_size=200))
@hypothesis_settings(max_examples=100)
def test_texts_of_the_characters_that_secrets_are_made_of(text: str) -> None:
    once = MASKS.mask(text)
    assert MASKS.mask(once) == once


@hypothesis_settings(max_examples=50)
@given(st.uuids(), st.datetimes(), st.integers(10**9, 10**19 - 1), st.binary(min_size=16, max_size=32))
def test_identifiers_times_and_hashes_survive(uuid: object, at: object, number: int, digest: bytes) -> None:
    text = f"{uuid} at {at} with {digest.hex()}"
    assert MASKS.mask(text) == text
    assert "[" not in NO_CARDS.mask(f"order {number}")


@given(st.integers(10**13, 10**19 - 1).filter(lambda number: str(number)[0] in "01789"))
@hypothesis_settings(max_examples=50)
def test_a_number_no_card_network_gives_out_survives(number: int) -> None:
    assert MASKS.mask(f"order {number}") == f"order {number}"


def test_a_key_file_without_its_end_is_masked_as_far_as_it_looks_like_one() -> None:
    assert MASKS.mask(PEM.partition("-----END")[0] + "and then we went home").endswith("[key]and then we went home")


def test_a_password_in_an_address_is_a_key() -> None:
    assert MASKS.mask("https://ana:s3cret@host.example.org/path") == "https[key]host.example.org/path"


def test_what_one_kind_left_is_looked_through_by_the_next() -> None:
    assert MASKS.mask("x ghp" + "_16C7e42F292c6912E7710c838347Ae178B4a@example.org") == "x [key]@example.org"
    assert MASKS.mask("+49 30 901820 4111 1111 1111 1111") == "[phone] [card]"
    assert MASKS.mask("a@example.org@b@example.org") == "[email]@[email]"


def test_only_the_kinds_that_are_named_are_looked_for() -> None:
    text = "ana@example.org +49 30 901820 4111 1111 1111 1111"
    assert built(kinds=["card"]).mask(text) == "ana@example.org +49 30 901820 [card]"
    assert built(kinds=["email"]).mask(text) == "[email] +49 30 901820 4111 1111 1111 1111"


def test_a_region_finds_numbers_as_they_are_dialled_there() -> None:
    assert REGIONS["US"].mask("ring (650) 253-0000, order 6502530000") == "ring [phone], order 6502530000"
    assert REGIONS["DE"].mask("ring 030 901820 or 030901820") == "ring [phone] or [phone]"
    assert MASKS.mask("ring (650) 253-0000") == "ring (650) 253-0000"


def test_a_region_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"redaction\.phone_region: found 'XX'; expected a country"):
        built(phone_region="XX")


@pytest.mark.parametrize(
    "piece", ["eyJ", "eyJa.", "sk-", "-----BEGIN PRIVATE KEY-----", "AKIA" + "A" * 16, "x@", "a@b.", "+1 (2", "4111 "]
)
def test_a_text_made_to_be_slow_takes_time_in_proportion_to_its_length(piece: str) -> None:
    def spent(size: int) -> float:
        text = piece * (size // len(piece))
        started = time.process_time()
        MASKS.mask(text)
        return time.process_time() - started

    assert spent(40_000) < 8 * spent(10_000) + 0.1  # 16 times as much where every place is read to the end
