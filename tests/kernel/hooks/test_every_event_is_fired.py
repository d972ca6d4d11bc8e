"""Every event has a place in the product that fires it, or a capability that will fire it.

A capability that lands without firing its events fails here.
"""

from __future__ import annotations

import ast
import runpy
from pathlib import Path

from model_checkpoint.hooks import HookEvent

ROOT = Path(__file__).resolve().parents[3]
PORTIONS = (ROOT / "kernel/model_checkpoint", ROOT / "plugins_builtin/model_checkpoint")

AWAITED: dict[str, list[str]] = runpy.run_path(str(ROOT / "docs/generate.py"))["AWAITED"]
LANDS_IN = {
    "trends and thresholds": "plugins_builtin/model_checkpoint/analytics/trend.py",
    "model selection": "plugins_builtin/model_checkpoint/analytics/selection.py",
    "early stopping": "plugins_builtin/model_checkpoint/analytics/early_stopping.py",
    "cloud transfers": "plugins_builtin/model_checkpoint/cloud/gcs_provider.py",
    "notifications": "plugins_builtin/model_checkpoint/notifications",
    "retention and clean-up": "plugins_builtin/model_checkpoint/retention",
    "the REST interface": "plugins_builtin/model_checkpoint/api",
    "performance budgets": "plugins_builtin/model_checkpoint/monitoring/budgets.py",
    "migration": "plugins_builtin/model_checkpoint/migration/readers",
    "the dashboard": "plugins_builtin/model_checkpoint/visualization",
}
"""Where a capability that events await will stand."""


def fired_events() -> set[str]:
    """Return the events that the product's code passes to something named fire or afire, now or as a callback."""
    found = set()
    for path in (path for portion in PORTIONS for path in portion.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                for function, event in zip([node.func, *node.args], node.args, strict=False):
                    name = getattr(function, "attr", getattr(function, "id", ""))
                    is_member = isinstance(event, ast.Attribute) and ast.unparse(event.value) == "HookEvent"
                    if name.lstrip("_") in ("fire", "afire") and is_member:
                        assert isinstance(event, ast.Attribute)
                        found.add(HookEvent[event.attr].value)
    return found


def test_every_event_is_fired_or_says_what_it_awaits() -> None:
    waiting = {event for events in AWAITED.values() for event in events}

    assert fired_events() | waiting == {event.value for event in HookEvent}
    assert fired_events() & waiting == set()


def test_no_capability_has_landed_without_its_events() -> None:
    assert set(AWAITED) == set(LANDS_IN)
    landed = [capability for capability, path in LANDS_IN.items() if (ROOT / path).exists()]

    assert landed == [], "these fire their events now, or should: take them out of AWAITED in docs/generate.py"
