"""
Signed messages and outcomes: nobody without a key can make one, change one, or move one elsewhere.

What is signed has ``~KEY~SIGNATURE~`` in front of its body: the id of the key, and HMAC-SHA256 in base64. No JSON
begins with ``~``, so both kinds can lie in one queue. The signature covers

* the *place*: the stem of a queue's keys, which says prefix, kind and queue, or the key of an outcome;
* the id of the message;
* the *tail* of its header: visibility timeout, attempts and flags, see `messages.header_tail`;
* the body.

It does not cover what Redis writes and changes on its way: instants, counts, leases.
"""

from __future__ import annotations

import hashlib
import os
from binascii import b2a_base64
from collections.abc import Iterable, Mapping
from hmac import compare_digest
from typing import Any, NoReturn

from .errors import BadSignature, SettingError

#: First byte of a signed body.
MARK = b"~"
#: Bytes that a secret needs. Shorter ones can be guessed by whoever reads one signed message.
LEAST_SECRET = 16
#: Longest id of a key.
_LONGEST_KEY_ID = 32
_MAKE_ONE = "make one with: python -c 'import secrets; print(secrets.token_hex(32))'"


class _Key:
    """HMAC-SHA256 under one secret. Its two halves are begun once, which takes half the time of the hmac module."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, secret: bytes) -> None:
        block = (secret if len(secret) <= 64 else hashlib.sha256(secret).digest()).ljust(64, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block))

    def signature(self, text: bytes) -> bytes:
        """In base64."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(text)
        outer.update(inner.digest())
        return b2a_base64(outer.digest(), newline=False)


class Signer:
    """
    Signs, and checks signatures. False when it has no keys: then it signs nothing, and lets everything pass.

    Args:
        secrets: ``{id of the key: secret}``. The first one signs, all of them verify.
        required: whether what is not signed is refused. Needs keys.
    """

    __slots__ = ("_keys", "_mark", "_signs", "required")

    def __init__(self, secrets: Mapping[str, bytes] | None = None, *, required: bool = False) -> None:
        self._keys = {key_id.encode(): _Key(secret) for key_id, secret in (secrets or {}).items()}
        self.required = required
        for key_id, key in self._keys.items():
            self._signs, self._mark = key, b"~%s~" % key_id
            break

    def __bool__(self) -> bool:
        return bool(self._keys)

    def __repr__(self) -> str:
        return f"<Signer keys=[{self._known()}]{' required' if self.required else ''}>"

    def _known(self) -> str:
        return b", ".join(self._keys).decode()

    # Writing.

    def sign(self, place: bytes, tail: str, pairs: Iterable[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
        """``(id, body)`` with signed bodies."""
        end = tail.encode()
        return [(message_id, self.signed(place, message_id.encode(), end, body)) for message_id, body in pairs]

    def signed(self, place: bytes, message_id: bytes, tail: bytes, body: bytes) -> bytes:
        """One body, signed."""
        return b"".join((self._mark, self._signs.signature(_text(place, message_id, tail, body)), MARK, body))

    # Reading.

    def opened(self, place: bytes, message_id: bytes, tail: bytes, body: bytes) -> bytes:
        """The body without its signature. BadSignature when that does not fit, or is needed and missing."""
        if not body.startswith(MARK):
            if self.required:
                raise BadSignature(
                    f"signature: expected one by a key of SIGNING_KEYS ({self._known()}), got an unsigned message; "
                    "give its sender the key, or set SIGNING_REQUIRED = False while senders change"
                )
            return body
        parts = body.split(MARK, 3)
        if len(parts) != 4:
            raise BadSignature("signature: expected ~KEY~SIGNATURE~BODY, got another form")
        _, key_id, signature, plain = parts
        if self._keys:
            key = self._keys.get(key_id)
            if key is None:
                self._refuse_key(key_id)
            if not compare_digest(key.signature(_text(place, message_id, tail, plain)), signature):
                raise BadSignature(
                    f"signature: expected that of key {key_id.decode()!r} for this message, got another; it was "
                    "changed, made with another secret, or made for another queue, id or options"
                )
        return plain

    def _refuse_key(self, key_id: bytes) -> NoReturn:
        shown = key_id[:_LONGEST_KEY_ID].decode("utf-8", "backslashreplace")
        raise BadSignature(
            f"signature: expected one by a key of SIGNING_KEYS ({self._known()}), got one by {shown!r}; "
            "if that is yours, add it to SIGNING_KEYS and redrive the message"
        )

    def body_of(self, place: bytes, message_id: bytes, message: bytes) -> bytes:
        """The body in a whole message, ``header|body``, as `opened`."""
        header, _, body = message.partition(b"|")
        return self.opened(place, message_id, tail_of(header), body)


#: Checks nothing: for who was given no keys.
NO_KEYS = Signer()


def tail_of(header: bytes) -> bytes:
    """What a header says behind its version and instant: what `messages.header_tail` made."""
    words = header.split(b" ", 2)
    return b" " + words[2] if len(words) > 2 else b""


def _text(place: bytes, message_id: bytes, tail: bytes, body: bytes) -> bytes:
    """What a signature is made of. Lengths in front, so that no two messages have the same."""
    lengths = b"rpqueue 1 %d %d %d " % (len(place), len(message_id), len(tail))
    return b"".join((lengths, place, message_id, tail, body))


# The settings.


class Secrets(dict[str, bytes]):
    """``{id of the key: secret}``, which does not show the secrets."""

    def __repr__(self) -> str:
        return f"<keys {', '.join(self)}>"


def secrets_of(value: Any, what: str) -> Secrets:
    """
    The keys that a setting says.

    Args:
        value: ``{id: secret}``, or as text ``id:secret,id:secret``, the signing one first; None: what the environment's
            RPQUEUE_SIGNING_KEYS says, by default nothing.
        what: how errors name it. They never show a secret.
    """
    if value is None:
        what, value = "RPQUEUE_SIGNING_KEYS", os.environ.get("RPQUEUE_SIGNING_KEYS", "")
    if isinstance(value, str):
        pairs = [pair.partition(":") for pair in value.replace(",", " ").split()]
        if not all(colon for _, colon, _ in pairs):
            raise SettingError(f"setting {what}: expected ID:SECRET,ID:SECRET, got text without a colon in each pair")
        if len({key_id for key_id, _, _ in pairs}) < len(pairs):
            raise SettingError(f"setting {what}: expected an id of its own for each key, got one twice")
        value = {key_id: secret for key_id, _, secret in pairs}
    if not isinstance(value, Mapping):
        raise SettingError(f"setting {what}: expected {{id: secret}} or None, got a {type(value).__name__}")
    return Secrets((_key_id(key_id, what), _secret(key_id, secret, what)) for key_id, secret in value.items())


def _key_id(value: Any, what: str) -> str:
    good = isinstance(value, str) and value.isascii() and 0 < len(value) <= _LONGEST_KEY_ID
    if not (good and value.replace("-", "").replace("_", "").replace(".", "").isalnum()):
        # What stands here may be a secret, put in the wrong place.
        raise SettingError(
            f"setting {what}: expected ids of keys with 1 to {_LONGEST_KEY_ID} of A-Z a-z 0-9 . _ -, got another"
        )
    return str(value)


def _secret(key_id: str, value: Any, what: str) -> bytes:
    secret = value.encode() if isinstance(value, str) else value
    if not isinstance(secret, bytes):
        raise SettingError(
            f"setting {what}: expected str or bytes as secret of {key_id!r}, got a {type(value).__name__}"
        )
    if len(secret) < LEAST_SECRET:
        raise SettingError(
            f"setting {what}: expected a secret of {LEAST_SECRET} bytes or more for {key_id!r}, got {len(secret)}; "
            + _MAKE_ONE
        )
    return secret


def required_of(value: Any, what: str) -> bool:
    """Whether signatures are required; None: what the environment's RPQUEUE_SIGNING_REQUIRED says, by default not."""
    if value is not None:
        return bool(value)
    word = os.environ.get("RPQUEUE_SIGNING_REQUIRED", "").strip().lower()
    if word not in ("", "0", "no", "false", "off", "1", "yes", "true", "on"):
        raise SettingError(f"setting RPQUEUE_SIGNING_REQUIRED: expected 1 or 0, got {word!r}")
    return word in ("1", "yes", "true", "on")


def signer_of(secrets: Secrets, required: bool) -> Signer:
    """The Signer that the settings ask for."""
    if required and not secrets:
        raise SettingError(
            "setting SIGNING_REQUIRED: expected SIGNING_KEYS, or RPQUEUE_SIGNING_KEYS, beside it, got no key; "
            + _MAKE_ONE
        )
    return Signer(secrets, required=required)
