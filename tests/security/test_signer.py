"""Signer: what it signs it knows again, and nothing else."""

from __future__ import annotations

import hmac
from binascii import b2a_base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpqueue import App
from rpqueue.errors import BadSignature, SettingError, Undecodable
from rpqueue.signing import NO_KEYS, Signer, secrets_of, tail_of

OLD, NEW = b"old secret, long enough", b"new secret, long enough"
SIGNER = Signer({"new": NEW, "old": OLD}, required=True)
PLACE, ID, TAIL, BODY = b"test:{tasks:mail}:", b"an id", b" 5000 3 1", b'["mail.send",["~|"],{}]'


@given(st.binary(min_size=16, max_size=200), st.binary(max_size=300))
def test_a_signature_is_what_the_standard_library_makes(secret: bytes, body: bytes) -> None:
    signed = Signer({"k": secret}).signed(PLACE, ID, TAIL, body)
    text = b"rpqueue 1 %d %d %d " % (len(PLACE), len(ID), len(TAIL)) + PLACE + ID + TAIL + body
    mac = b2a_base64(hmac.digest(secret, text, "sha256"), newline=False)
    assert signed == b"~k~" + mac + b"~" + body


@given(st.binary(), st.binary(), st.binary(), st.binary())
def test_what_was_signed_is_opened(place: bytes, message_id: bytes, tail: bytes, body: bytes) -> None:
    assert SIGNER.opened(place, message_id, tail, SIGNER.signed(place, message_id, tail, body)) == body


def test_every_flipped_bit_is_refused() -> None:
    signed = SIGNER.signed(PLACE, ID, TAIL, BODY)
    for at in range(len(signed)):
        for bit in range(8):
            changed = signed[:at] + bytes([signed[at] ^ 1 << bit]) + signed[at + 1 :]
            with pytest.raises(BadSignature):
                SIGNER.opened(PLACE, ID, TAIL, changed)


@pytest.mark.parametrize(
    "other",
    [
        (b"test:{tasks:mails}:", ID, TAIL),
        (b"test:{data:mail}:", ID, TAIL),
        (b"prod:{tasks:mail}:", ID, TAIL),
        (PLACE, b"another id", TAIL),
        (PLACE, ID, b" 5000 9 1"),
        (PLACE, ID, b""),
        (PLACE + ID, b"", TAIL),
        (PLACE, ID + TAIL, b""),
    ],
)
def test_a_signature_is_for_one_place_id_and_header(other: tuple[bytes, bytes, bytes]) -> None:
    with pytest.raises(BadSignature, match="expected that of key 'new' for this message, got another"):
        SIGNER.opened(*other, SIGNER.signed(PLACE, ID, TAIL, BODY))


def test_the_first_key_signs_and_all_verify() -> None:
    assert SIGNER.signed(PLACE, ID, TAIL, BODY).startswith(b"~new~")
    for secret in ({"new": NEW}, {"old": OLD}):
        assert SIGNER.opened(PLACE, ID, TAIL, Signer(secret).signed(PLACE, ID, TAIL, BODY)) == BODY


def test_a_key_that_was_removed_verifies_no_more() -> None:
    signed = Signer({"old": OLD}).signed(PLACE, ID, TAIL, BODY)
    with pytest.raises(BadSignature, match=r"expected one by a key of SIGNING_KEYS \(new\), got one by 'old'"):
        Signer({"new": NEW}).opened(PLACE, ID, TAIL, signed)


def test_another_secret_under_the_same_id_is_refused() -> None:
    with pytest.raises(BadSignature):
        Signer({"new": OLD}).opened(PLACE, ID, TAIL, Signer({"new": NEW}).signed(PLACE, ID, TAIL, BODY))


@pytest.mark.parametrize("signed", [b"~", b"~~", b"~new~", b"~new~short", b"~new~~", b"~new~~[]", b"~\xff~x~[]"])
def test_what_only_begins_like_a_signature_is_refused(signed: bytes) -> None:
    with pytest.raises(BadSignature, match=r"^signature: expected"):
        SIGNER.opened(PLACE, ID, TAIL, signed)


def test_unsigned_bodies_pass_unless_signatures_are_required() -> None:
    assert Signer({"new": NEW}).opened(PLACE, ID, TAIL, BODY) == BODY
    with pytest.raises(BadSignature, match="got an unsigned message; give its sender the key"):
        SIGNER.opened(PLACE, ID, TAIL, BODY)


def test_who_has_no_keys_reads_what_others_signed() -> None:
    assert NO_KEYS.opened(PLACE, ID, TAIL, SIGNER.signed(PLACE, ID, TAIL, BODY)) == BODY
    assert not NO_KEYS


def test_bad_signatures_are_undecodable_messages() -> None:
    assert issubclass(BadSignature, Undecodable)


@pytest.mark.parametrize(
    ("header", "tail"), [(b"1 1700000000000", b""), (b"1 5 6 7 8", b" 6 7 8"), (b"", b""), (b"1", b"")]
)
def test_the_tail_of_a_header_is_what_its_sender_said(header: bytes, tail: bytes) -> None:
    assert tail_of(header) == tail


# The settings.


@pytest.mark.parametrize(
    "value",
    [
        {"new": NEW, "old": OLD},
        {"new": NEW.decode(), "old": OLD.decode()},
    ],
)
def test_keys_are_a_mapping_of_text_or_bytes(value: Any) -> None:
    assert list(secrets_of(value, "SIGNING_KEYS").items()) == [("new", NEW), ("old", OLD)]


def test_keys_are_text_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RPQUEUE_SIGNING_KEYS", "new:0123456789abcdef:, old:fedcba9876543210")
    monkeypatch.setenv("RPQUEUE_SIGNING_REQUIRED", "1")
    signer = App(prefix="test").signer
    assert signer.signed(PLACE, ID, TAIL, BODY).startswith(b"~new~")
    assert signer.required
    key = Signer({"new": b"0123456789abcdef:"})
    assert signer.opened(PLACE, ID, TAIL, key.signed(PLACE, ID, TAIL, BODY)) == BODY


def test_what_is_assigned_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RPQUEUE_SIGNING_KEYS", "env:0123456789abcdef")
    app = App(prefix="test")
    assert "env" in repr(app.signer)
    app.settings.signing_keys = {"own": NEW}
    assert repr(app.signer) == "<Signer keys=[own]>"
    app.settings.signing_keys = {}
    assert not app.signer


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": "MARKED-SHORT"}, "expected a secret of 16 bytes or more for 'a', got 12"),
        ({"a": 16 * ["MARKED"]}, "expected str or bytes as secret of 'a', got a list"),
        ({"MARKED:SECRET IN THE WRONG PLACE": "x"}, "expected ids of keys with 1 to 32 of A-Z"),
        ({"x" * 33: NEW}, "expected ids of keys"),
        ({1: NEW}, "expected ids of keys"),
        (["MARKED-SECRET"], "expected {id: secret} or None, got a list"),
        ("MARKED-SECRET-WITHOUT-ID", "expected ID:SECRET,ID:SECRET, got text without a colon"),
        ("a:MARKED-0123456789,a:MARKED-9876543210", "expected an id of its own for each key, got one twice"),
    ],
)
def test_keys_that_cannot_be_used_are_refused_and_never_shown(value: Any, text: str) -> None:
    app = App(prefix="test")
    app.settings.signing_keys = value
    with pytest.raises(SettingError) as refused:
        _ = app.signer
    assert text in str(refused.value)
    assert str(refused.value).startswith("setting SIGNING_KEYS: ")
    assert "MARKED" not in str(refused.value)


def test_signatures_cannot_be_required_without_a_key() -> None:
    app = App(prefix="test")
    app.settings.signing_required = True
    with pytest.raises(
        SettingError, match="SIGNING_REQUIRED: expected SIGNING_KEYS, or RPQUEUE_SIGNING_KEYS, beside it"
    ):
        _ = app.signer


def test_a_word_in_the_environment_that_says_neither_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RPQUEUE_SIGNING_REQUIRED", "perhaps")
    with pytest.raises(SettingError, match="RPQUEUE_SIGNING_REQUIRED: expected 1 or 0, got 'perhaps'"):
        _ = App(prefix="test").signer


def test_secrets_are_in_no_repr() -> None:
    app = App(prefix="test")
    app.settings.signing_keys = {"new": "MARKED-0123456789"}
    shown = repr([app, app.signer, app.settings, app.settings.signing_keys, vars(app.signer.__class__)])
    assert "MARKED" not in shown + str(app.settings.signing_keys)
    assert "new" in shown
