"""The tree of errors that `model_checkpoint.errors` draws is the tree that it has."""

from __future__ import annotations

import re
from importlib import import_module
from pkgutil import iter_modules

from model_checkpoint import errors

Drawn = dict[str, tuple[str, str | None]]


def parse_tree(text: str) -> Drawn:
    """Return name -> (parent in the drawing, builtin in parentheses), reading depth from the column of the name."""
    drawn: Drawn = {}
    path: list[tuple[int, str]] = []
    for line in text.splitlines():
        entry = re.match(r"(?P<branch>[ │├└─]*)(?P<name>[A-Z]\w+)(?: \((?P<builtin>\w+)\))?(?= |$)", line)
        if not entry or (not path and entry["name"] != "CheckpointEngineError"):
            continue
        column = len(entry["branch"])
        while path and path[-1][0] >= column:
            path.pop()
        drawn[entry["name"]] = (path[-1][1] if path else "Exception", entry["builtin"])
        path.append((column, entry["name"]))
    return drawn


def test_the_drawn_tree_is_the_tree_of_the_classes_with_their_builtin_bases() -> None:
    actual: Drawn = {}
    for name in errors.__all__:
        error = getattr(errors, name)
        if issubclass(error, errors.CheckpointEngineError):
            parent, *others = (base.__name__ for base in error.__bases__)
            assert len(others) <= 1, f"{name} inherits more than one builtin: {others}"
            actual[name] = (parent, others[0] if others else None)

    assert parse_tree(errors.__doc__ or "") == actual


def test_every_error_that_any_module_of_the_package_defines_is_exported() -> None:
    defined = {
        name
        for module in iter_modules(errors.__path__, f"{errors.__name__}.")
        for name, value in vars(import_module(module.name)).items()
        if isinstance(value, type) and issubclass(value, BaseException) and value.__module__ == module.name
    }

    assert set(errors.__all__) == defined


def test_the_exported_names_are_sorted_and_each_is_there() -> None:
    assert errors.__all__ == sorted(errors.__all__)
    assert all(hasattr(errors, name) for name in errors.__all__)


def test_every_error_says_in_its_docstring_what_happened() -> None:
    undocumented = [name for name in errors.__all__ if not (getattr(errors, name).__doc__ or "").strip()]

    assert undocumented == []


def test_a_veto_is_caught_neither_as_an_engine_error_nor_as_a_builtin_one() -> None:
    assert errors.Veto.__bases__ == (Exception,)
