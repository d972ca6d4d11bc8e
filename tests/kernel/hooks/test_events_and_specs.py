"""The events, their hookspecs and what is generated from them agree."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from model_checkpoint.hooks import HookEvent, HookManager
from model_checkpoint.hooks.contexts import COMMON, class_name, context_class
from model_checkpoint.hooks.specs import ANSWERS, EVENTS, NAMESPACES
from model_checkpoint.plugins import Provided

DESIGN_VETOABLE = 25


def test_every_event_has_a_hookspec_and_every_hookspec_an_event() -> None:
    assert {event.value for event in HookEvent} == set(EVENTS)
    assert len(EVENTS) == 64


def test_every_hookspec_says_what_it_is_for() -> None:
    silent = [
        name
        for namespace in NAMESPACES
        for name, function in inspect.getmembers(namespace, inspect.isfunction)
        if hasattr(function, "model_checkpoint_spec") and not (function.__doc__ or "").strip()
    ]

    assert silent == []


def test_every_event_takes_the_context_and_the_kernel() -> None:
    hooks = HookManager()

    for name in EVENTS:
        spec = getattr(hooks.hook, name).spec
        assert (spec.argnames, spec.kwargnames) == (("context",), ("kernel",))


def test_what_tells_of_the_past_cannot_be_vetoed() -> None:
    assert [name for name, spec in EVENTS.items() if spec.veto and name.startswith("after_")] == []


def test_only_events_before_or_at_a_beginning_let_hooks_change_fields_or_those_that_choose_what_follows() -> None:
    changing = {name for name, spec in EVENTS.items() if any(field.writable for field in spec.fields)}

    assert not [name for name in changing if name.startswith("after_")]


@pytest.mark.parametrize("name", list(EVENTS))
def test_every_context_can_be_built_and_has_its_fields(name: str) -> None:
    made = context_class(name)(event=HookEvent(name))

    assert type(made).__name__ == class_name(name)
    assert all(getattr(made, field.name) is None for field in EVENTS[name].fields)
    assert all(field in made for field in COMMON)


def test_contexts_are_built_only_when_they_are_used() -> None:
    program = (
        "import model_checkpoint.hooks as h; from model_checkpoint.hooks import contexts as c;"
        "assert not c._built; h.HookManager().fire('on_run_end'); assert list(c._built) == ['on_run_end']"
    )

    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_the_stub_and_the_page_are_up_to_date(repository: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(repository / "docs/generate.py"), "--check"], capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr


def test_questions_are_not_events() -> None:
    assert ANSWERS.isdisjoint(EVENTS)
    assert "register_storage_backends" in ANSWERS


REGISTRATION_HOOKS = [
    "register_storage_backends",
    "register_record_stores",
    "register_cloud_providers",
    "register_notifiers",
    "register_analyzers",
    "register_selectors",
    "register_retention_policies",
    "register_integrity_algorithms",
    "register_stoppers",
    "register_framework_adapters",
    "register_save_decisions",
    "register_codecs",
    "register_migrators",
    "register_api_routes",
    "register_commands",
    "register_dashboards",
]


def test_there_is_a_registration_hook_for_every_kind_of_thing_that_plugins_provide() -> None:
    assert {name for name in ANSWERS if name.startswith("register_")} == set(REGISTRATION_HOOKS)
    assert set(Provided.empty().tables()) == set(REGISTRATION_HOOKS)
