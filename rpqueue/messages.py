"""
Messages, and their bytes on the wire.

A message is one hash field: ``header|body``. The header is text that Lua can split, ``VERSION AVAILABLE_AT``, and
where something differs from the default ``VERSION AVAILABLE_AT LEASE ATTEMPTS FLAGS``: milliseconds, milliseconds, a
count and the sum of the `Flags`. Enqueue writes the instant, by Redis's clock. The body is JSON that nothing but its
reader parses, so a value leaves as it came. A task's body is ``[name, args, kwargs]``, and a fourth
value where middleware sends something along; a data item's is the item.

These five words mean the same in every version, so that scripts of any version can schedule, lease, reap and bury any
message. Words that follow are let be. A version that is greater than ours says that we cannot run it.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from enum import IntFlag
from itertools import chain
from typing import Any, NamedTuple

from .errors import MessageTooLarge, NewerMessage, RefusedInput, Undecodable, UnserializableValue, WrongType
from .keys import text_of

#: Version of the wire format, the first word of every header.
VERSION = 1
#: How a header of ours begins; and how long one is that says nothing but version and instant, the rest having its
#: defaults, while instants have 13 digits: from 2001 to 2286.
PLAIN_START = b"%d " % VERSION
PLAIN_LENGTH = len(PLAIN_START) + 13
#: No number has more than 15 digits, which is what Lua holds exactly.
_HEADER = re.compile(rb"([1-9]\d{0,8}) (\d{1,15})(?: (\d{1,15}) (\d{1,15}) (\d{1,15})(?: [^|]*)?)?")
#: What a message that is too new is parked as.
_NEWER = "version "
#: Bytes that bodies may have on average to be decoded together: joining larger ones costs more than it saves.
_SMALL = 4096
#: Characters from which on it pays to look whether a text needs any quoting inside, and what may need it in ASCII
#: beside the quote and the backslash.
LONG_TEXT = 4096
_CONTROLS = bytes([*range(32), 127])
#: Stands between bodies that are decoded together. No body can hold it, so none reaches into its neighbour.
_MARK = os.urandom(8).hex()
_BETWEEN = f',"{_MARK}",'.encode()
_LARGEST = sys.float_info.max
#: Types without anything inside.
_SCALARS = {str, int, float, bool, type(None)}
#: Seconds of the lease of a message that may run as long as it likes: 10 years. Its worker's heartbeat keeps it.
FOREVER = 10 * 365 * 86_400.0
#: Bytes that a body may have when a setting does not say otherwise.
MAX_MESSAGE_BYTES = 1_048_576


class Flags(IntFlag):
    """What the scripts need to know of a message, beside its lease and attempts."""

    USE_DEAD = 1  #: dead-letter it when it is given up
    WATCHED = 2  #: publish its start and its end: somebody may wait for it
    CHOSEN_ID = 4  #: the id was chosen by a user and may be used again: see counts in enqueue.lua
    DELAYED = 8  #: it was scheduled for later, so its start can be late
    RECOVER = 16  #: its lease ends only when its worker dies, which is a crash and no failure


_ALL_FLAGS = sum(Flags)


class Leased(NamedTuple):
    """A message in somebody's hands, as a claim returned it."""

    id: str
    token: int  #: says which of the message's leases this is; a later lease has a greater one
    available_at: float  #: seconds since the epoch, Redis's clock; when it became ready
    lease: float  #: seconds of visibility timeout that the message asks for; 0: at most once
    attempts: int  #: deliveries that it may have in all
    flags: Flags
    body: bytes


def new_id() -> str:
    """An id for one message: 96 random bits, 24 characters that need no quoting anywhere."""
    return os.urandom(12).hex()


def new_ids(count: int) -> list[str]:
    """*count* fresh ids for one system call, sorted: so they keep their order where they share an instant."""
    digits = os.urandom(12 * count).hex()
    return sorted([digits[at : at + 24] for at in range(0, 24 * count, 24)])


def header_tail(lease: float = 0, attempts: int = 1, flags: int = 0) -> str:
    """The part of a header that says what differs from the default; empty when nothing does."""
    if not lease and attempts == 1 and not flags:
        return ""
    return f" {round(lease * 1000)} {attempts} {int(flags)}"


def whole(tail: str, body: bytes) -> bytes:
    """A message that became ready now, by this machine's clock: what enqueueing would have made of its parts."""
    return f"{VERSION} {time.time() * 1000:.0f}{tail}|".encode() + body


def parse_header(header: bytes) -> tuple[float, float, int, Flags]:
    """``(available_at, lease, attempts, flags)`` of a header without its bar, whatever its version."""
    return _parse(header)[1:]


def _parse(header: bytes) -> tuple[int, float, float, int, Flags]:
    found = _HEADER.fullmatch(header)
    if found is None:
        raise Undecodable(f"message header: expected 'VERSION AVAILABLE_AT ...', got {len(header)} other bytes")
    version, available_at, lease, attempts, flags = (int(word or 0) for word in found.groups())
    return version, available_at / 1000, lease / 1000, attempts if found[4] else 1, Flags(flags & _ALL_FLAGS)


def check_version(header: bytes) -> None:
    """Raise NewerMessage when only a newer rpqueue can read the body that follows."""
    version = _parse(header)[0]
    if version > VERSION:
        raise NewerMessage(
            f"message version: expected {VERSION} or less, got {version}; a newer rpqueue wrote it, and can read it",
            version,
        )


def parking_name(version: int) -> str:
    """What a message of a newer form is parked as, in place of the name of its task."""
    return f"{_NEWER}{version}"


def can_read(parked_as: str) -> bool:
    """Whether a message was parked as too new for somebody, and is not too new for us."""
    version = parked_as.removeprefix(_NEWER)
    return version != parked_as and version.isdecimal() and len(version) < 10 and int(version) <= VERSION


def is_text(name: str) -> bool:
    """Whether UTF-8 can carry it. JSON can hold half characters, and no name has any."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


class Headers:
    """Reads many headers. Most have the same tail, all that follows an instant of 13 digits, and it is read once."""

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[float, int, Flags]] = {b"": (0.0, 1, Flags(0))}

    def terms(self, header: bytes) -> tuple[float, int, Flags]:
        """``(lease, attempts, flags)``; NewerMessage as `check_version`, Undecodable as `parse_header`."""
        instant, tail = header[len(PLAIN_START) : PLAIN_LENGTH], header[PLAIN_LENGTH:]
        is_usual = header.startswith(PLAIN_START) and instant.isdigit() and len(instant) == 13
        if is_usual and tail in self._known:
            return self._known[tail]
        _, lease, attempts, flags = parse_header(header)
        check_version(header)
        if is_usual:
            self._known[tail] = lease, attempts, flags
        return lease, attempts, flags


def split(message_id: bytes, token: int, message: bytes) -> Leased:
    """A claimed message from its parts; Undecodable when the header is none, NewerMessage when the body is."""
    header, bar, body = message.partition(b"|")
    if not bar:
        raise Undecodable(f"message {message_id!r}: expected 'header|body', got {len(message)} bytes without a bar")
    check_version(header)
    return Leased(text_of(message_id), token, *parse_header(header), body)


def encode(value: Any, what: str, limit: int = MAX_MESSAGE_BYTES) -> bytes:
    """
    *value* as JSON, which `decode` turns back into an equal value.

    Args:
        value: dicts with str keys, lists, str, int, float, bool and None; tuples become lists.
        what: how errors name it.
        limit: most bytes that the JSON may have; 0 sets no limit.
    """
    return _encode(value, what, limit, 0, _to_json)


def _encode(value: Any, what: str, limit: int, empty_dicts: int, to_json: Callable[[Any], str]) -> bytes:
    """As `encode`, of a value whose JSON is known to end with so many empty dicts."""
    try:
        text = to_json(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise UnserializableValue(
            f"{what}: expected a value that JSON can carry, got {_short(value)} ({error})"
        ) from error
    # `{}]` is how a call without keyword arguments ends.
    if text.find("{", 0, len(text) - 3 * empty_dicts) >= 0 and _has_other_keys(value):
        raise UnserializableValue(f"{what}: expected dicts with str keys, as in JSON, got {_short(value)}")
    body = text.encode()
    if limit and len(body) > limit:
        raise MessageTooLarge(
            f"{what}: expected at most {limit} bytes of JSON (MAX_MESSAGE_BYTES), got {len(body)}; "
            "put large data elsewhere and send where it is"
        )
    return body


def encode_each(values: Sequence[Any], limit: int) -> list[bytes] | None:
    """What `encode` makes of each of *values*; None when it would refuse one."""
    try:
        texts = [_to_json(value) for value in values[:1]]
        to_json = _with_long_texts if texts and len(texts[0]) > LONG_TEXT else _to_json
        texts += [to_json(value) for value in values[1:]]
        bodies = [text.encode() for text in texts]
    except (TypeError, ValueError, RecursionError):
        return None
    if limit and max(map(len, bodies), default=0) > limit:
        return None
    return None if not _are_flat(values) and any(map(_has_other_keys, values)) else bodies


def decode(body: bytes, what: str = "message body", limit: int = 0) -> Any:
    """The value in *body*; Undecodable when it is no JSON, holds NaN, or is over *limit* bytes (0: no limit)."""
    if limit and len(body) > limit:
        raise Undecodable(f"{what}: expected at most {limit} bytes (MAX_MESSAGE_BYTES), got {len(body)}")
    try:
        return _DECODER.decode(body.decode())
    except (ValueError, RecursionError) as error:
        # Not the bytes themselves: they are kept where they are, and may be nobody's business who reads logs.
        raise Undecodable(f"{what}: expected JSON, got {len(body)} other bytes ({error})") from error


def decode_each(bodies: Sequence[bytes]) -> list[Any] | None:
    """
    The values in *bodies*; None when `decode` would refuse one, or it is better to decode each alone.

    They are decoded in one call, which costs a third of one call each. A body is JSON by itself if and only if what
    stands between the marks is.
    """
    if len(bodies) < 2 or sum(map(len, bodies)) > _SMALL * len(bodies):
        return None
    try:
        values = _DECODER.decode((b"[" + _BETWEEN.join(bodies) + b"]").decode())
    except (ValueError, RecursionError):
        return None
    if len(values) != 2 * len(bodies) - 1 or values[1::2].count(_MARK) != len(bodies) - 1:
        return None
    found: list[Any] = values[::2]
    return found


def encode_task(name: str, args: tuple[Any, ...] | list[Any], kwargs: dict[str, Any], limit: int) -> bytes:
    """The body of a task message."""
    to_json = _encoder_for((*args, *kwargs.values()) if kwargs else args)
    return _encode([name, list(args), kwargs], f"arguments of {name}", limit, 0 if kwargs else 1, to_json)


def with_meta(body: bytes, meta: dict[str, Any], name: str, limit: int) -> bytes:
    """
    The body of a task message, and what middleware sends along with it.

    A line break stands between the two, as JSON has none of its own: by that sift.lua knows that a call is the same.
    """
    if not meta:
        return body
    whole = b"%s\n,%s]" % (body[:-1], encode(meta, f"meta of {name}", limit))
    if 0 < limit < len(whole):
        raise MessageTooLarge(
            f"arguments and meta of {name}: expected at most {limit} bytes of JSON together (MAX_MESSAGE_BYTES), got "
            f"{len(whole)}"
        )
    return whole


def decode_task(body: bytes, limit: int = 0) -> tuple[str, list[Any], dict[str, Any]]:
    """``(name, args, kwargs)`` of a task message's body."""
    return decode_call(body, limit)[:3]


def decode_call(body: bytes, limit: int = 0) -> tuple[str, list[Any], dict[str, Any], dict[str, Any]]:
    """``(name, args, kwargs, meta)`` of a task message's body."""
    value = decode(body, "task body", limit)
    if isinstance(value, list) and len(value) == 3:
        value.append({})
    if (
        isinstance(value, list)
        and len(value) == 4
        and isinstance(value[0], str)
        and is_text(value[0])
        and isinstance(value[1], list)
        and isinstance(value[2], dict)
        and isinstance(value[3], dict)
    ):
        return value[0], value[1], value[2], value[3]
    raise Undecodable(f"task body: expected [name, args, kwargs], got other JSON of {len(body)} bytes")


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if -_LARGEST <= number <= _LARGEST:
        return number
    raise ValueError(f"{text[:40]} is more than a float can hold")


def _encoder(quote: Callable[[str], str]) -> Callable[[Any], str]:
    """
    What json.dumps() with our options does; *quote* makes JSON of a str.

    Every call of it, and of JSONEncoder.encode(), makes an encoder in C, which takes longer than what most calls have
    to encode. So ours is made once, where Python has one.
    """
    encoder = json.JSONEncoder(allow_nan=False, separators=(",", ":"))
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return encoder.encode
    # Its arguments are markers, default, encoder, indent, the separators, sort_keys, skipkeys and allow_nan. Without
    # markers a list that holds itself ends in a RecursionError.
    parts = make(None, encoder.default, quote, None, ":", ",", False, False, False)
    return lambda value: "".join(parts(value, 0))


def _quote_long(text: str) -> str:
    """What JSON's quoting does, which looks at each character twice. Most long texts need nothing but the quotes."""
    if (
        len(text) > LONG_TEXT
        and text.isascii()
        and '"' not in text
        and "\\" not in text
        and len(text.encode().translate(None, _CONTROLS)) == len(text)
    ):
        return "".join(('"', text, '"'))
    return json.encoder.encode_basestring_ascii(text)


def _encoder_for(values: Iterable[Any]) -> Callable[[Any], str]:
    """The quicker one for something with *values* in it."""
    to_json = _to_json
    for value in values:
        if type(value) is str and len(value) > LONG_TEXT:
            to_json = _long_to_json
    return to_json


def _with_long_texts(value: Any) -> str:
    """JSON of a value that is likely to hold long texts."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else (value,)
    return _encoder_for(inner)(value)


_to_json = _encoder(json.encoder.encode_basestring_ascii)
_long_to_json = _encoder(_quote_long)
# json.loads() with options makes a new one for every call.
_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except Exception as error:  # a user's __repr__ may do anything; the refusal must still be said
        return f"a {type(value).__name__} whose repr failed with {error!r}"
    return text if len(text) <= 80 else f"{text[:77]}..."


def _are_flat(values: Sequence[Any]) -> bool:
    """Whether it is plain to see that nothing in *values* `_has_other_keys`: no dicts, or flat ones with str keys."""
    kinds = set(map(type, values))
    if kinds != {dict}:
        return kinds <= _SCALARS
    keys, inner = chain.from_iterable(values), chain.from_iterable(map(dict.values, values))
    return set(map(type, keys)) <= {str} and set(map(type, inner)) <= _SCALARS


def _has_other_keys(value: Any) -> bool:
    """Whether a dict inside has a key that JSON would silently turn into a str."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            if not all(isinstance(key, str) for key in item):
                return True
            pending.extend(item.values())
        elif isinstance(item, (list, tuple)):
            pending.extend(item)
    return False


def seconds(value: Any, what: str, *, least: float = 0.0) -> float:
    """*value* as seconds; int, float and timedelta are taken, bool, NaN and infinity are not."""
    total = getattr(value, "total_seconds", None)
    number = total() if callable(total) else value
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        raise WrongType(f"{what}: expected seconds as int, float or timedelta, got {value!r}")
    if not least <= number < 1e10:
        raise RefusedInput(f"{what}: expected seconds >= {least:g}, got {value!r}")
    return float(number)
