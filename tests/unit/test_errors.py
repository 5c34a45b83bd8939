"""The exceptions are the tree that is drawn on top of their file."""

from __future__ import annotations

import builtins
import inspect
import pickle
import re

import pytest

from rpqueue import errors
from rpqueue.errors import RpqueueError, did_you_mean

LINE = re.compile(r"^(?P<branch>[│├└─ ]*)(?P<name>[A-Z]\w+)(?: {2,}(?P<text>\S.*))?$", re.MULTILINE)
CLASSES = {
    name: kind
    for name, kind in vars(errors).items()
    if inspect.isclass(kind) and issubclass(kind, Exception) and kind.__module__ == errors.__name__
}


def drawn() -> dict[str, tuple[str | None, set[str]]]:
    """``{name: (parent, builtin bases)}`` as drawn."""
    tree: dict[str, tuple[str | None, set[str]]] = {}
    path: list[str] = []
    for found in LINE.finditer(errors.__doc__ or ""):
        depth = len(found["branch"]) // 4
        assert len(found["branch"]) % 4 == 0
        path[depth:] = [found["name"]]
        before, colon, _ = (found["text"] or "").partition(":")
        words = set(re.findall(r"[A-Z]\w+", before)) if colon else set()
        bases = {word for word in words if isinstance(getattr(builtins, word, None), type)}
        tree[found["name"]] = (path[depth - 1] if depth else None, bases)
    return tree


def real() -> dict[str, tuple[str | None, set[str]]]:
    tree = {}
    for name, kind in CLASSES.items():
        own = [base.__name__ for base in kind.__bases__ if base.__module__ == errors.__name__]
        bases = {base.__name__ for base in kind.__bases__ if base.__module__ == "builtins"} - {"Exception"}
        tree[name] = (own[0] if own else None, bases)
    return tree


def test_the_drawn_tree_is_the_real_one() -> None:
    assert drawn() == real()
    assert list(drawn()) == list(real()), "in the same order"


def test_the_drawing_is_read_whole() -> None:
    text = errors.__doc__ or ""
    assert len(drawn()) == 1 + len(re.findall("[├└]──", text)) > 20


@pytest.mark.parametrize("name", CLASSES)
def test_every_error_says_what_it_means(name: str) -> None:
    kind = CLASSES[name]
    assert issubclass(kind, RpqueueError)
    assert (kind.__doc__ or "").strip().endswith(".")


@pytest.mark.parametrize("name", sorted(set(CLASSES) - {"RetryException"}))
def test_every_error_shows_its_text_and_survives_pickling(name: str) -> None:
    error = CLASSES[name]("expected 'a', got 'b'")
    assert str(error) == "expected 'a', got 'b'"
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)


def test_a_wish_to_be_run_again_survives_pickling() -> None:
    wish = errors.RetryException(method=(pow, (2,)), log_error=False)
    again = pickle.loads(pickle.dumps(wish))
    assert (again.method, again.original_traceback, again.log_error) == ((pow, (2,)), False, False)
    assert str(again) == "the task asked to be run again"


def test_an_unknown_task_without_text_shows_none() -> None:
    assert str(errors.UnknownTask()) == ""


def test_a_failed_task_holds_what_its_worker_recorded() -> None:
    assert errors.TaskFailed("m").error == {}
    error = errors.TaskLost("m", {"exception": "ValueError"})
    assert error.error == {"exception": "ValueError"}
    assert pickle.loads(pickle.dumps(error)).error == error.error


@pytest.mark.parametrize(
    ("name", "known", "words"),
    [
        ("mail.sned", ["mail.send", "mail.read"], "; did you mean 'mail.send'?"),
        ("mail.send", iter(["mail.sent"]), "; did you mean 'mail.sent'?"),
        ("zebra", ["mail.send"], ""),
        ("mail", [], ""),
        ("", ["mail"], ""),
    ],
)
def test_did_you_mean_names_the_nearest_or_nothing(name: str, known: list[str], words: str) -> None:
    assert did_you_mean(name, known) == words
