"""Frames of tracebacks that are text."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from rpqueue.contrib import frames


def inner() -> None:
    raise ValueError("one\ntwo: three")


def outer() -> None:
    inner()


def chained() -> None:
    try:
        outer()
    except ValueError as error:
        raise KeyError("meant") from error


def grouped() -> None:
    try:
        outer()
    except ValueError as error:
        raise ExceptionGroup("many", [error, KeyError("x")])  # noqa: B904, F821  # Python 3.11 has it


def said_by(function: Callable[[], Any]) -> str:
    try:
        function()
    except Exception as error:
        return "".join(traceback.format_exception(error))
    raise AssertionError("it raises")


def test_frames_have_file_line_function_and_code_the_innermost_last() -> None:
    told = frames.read(said_by(outer))
    assert [(one.function, one.code) for one in told.frames] == [
        ("said_by", "function()"),
        ("outer", "inner()"),
        ("inner", 'raise ValueError("one\\ntwo: three")'),
    ]
    assert {one.file for one in told.frames} == {__file__}
    assert told.frames[-1].line == inner.__code__.co_firstlineno + 1
    assert told.message == "one\ntwo: three"


def test_of_chained_exceptions_the_last_is_told() -> None:
    told = frames.read(said_by(chained))
    assert [one.function for one in told.frames] == ["said_by", "chained"]
    assert told.message == "'meant'"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 has no groups of exceptions")
def test_of_a_group_the_group_is_told() -> None:
    told = frames.read(said_by(grouped))
    assert [one.function for one in told.frames] == ["said_by", "grouped"]
    assert told.message == "many (2 sub-exceptions)"


def test_an_exception_without_a_message_has_none() -> None:
    assert frames.read("".join(traceback.format_exception(ValueError()))) == frames.Told([], "")


@pytest.mark.parametrize("text", ["", "...\n", "no traceback", 'File "x", line 1, in f', "\n\n: \n", "Traceback (most"])
def test_what_is_no_traceback_has_no_frames_that_are_not_there(text: str) -> None:
    assert all(one.file == "x" for one in frames.read(text).frames)
