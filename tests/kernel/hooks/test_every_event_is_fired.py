"""Every event has a place in the product that fires it, or names the capability that will.

The table shrinks: an event leaves it with the change that fires it, and a capability that lands without firing its
events fails here.
"""

from __future__ import annotations

import ast
from pathlib import Path

from model_checkpoint.hooks import HookEvent

ROOT = Path(__file__).resolve().parents[3]
PORTIONS = (ROOT / "kernel/model_checkpoint", ROOT / "plugins_builtin/model_checkpoint")

NOT_FIRED_YET = {
    "the model registry": ("plugins_builtin/model_checkpoint/tracking", ["on_alias_change"]),
    "trends and thresholds": (
        "plugins_builtin/model_checkpoint/analytics/trend.py",
        ["on_metric_threshold", "on_metric_trend"],
    ),
    "model selection": (
        "plugins_builtin/model_checkpoint/analytics/selection.py",
        ["before_model_selection", "after_model_selection"],
    ),
    "early stopping": ("plugins_builtin/model_checkpoint/analytics/early_stopping.py", ["on_early_stop"]),
    "cloud transfers": (
        "plugins_builtin/model_checkpoint/cloud/gcs_provider.py",
        [
            "before_cloud_upload", "after_cloud_upload", "before_cloud_download", "after_cloud_download",
            "on_cloud_error",
        ],
    ),
    "notifications": (
        "plugins_builtin/model_checkpoint/notifications",
        ["before_notification_send", "after_notification_send", "on_notification_error"],
    ),
    "retention and clean-up": (
        "plugins_builtin/model_checkpoint/retention",
        ["before_retention_policy", "after_retention_policy", "before_cleanup", "after_cleanup"],
    ),
    "the REST interface": (
        "plugins_builtin/model_checkpoint/api",
        ["before_api_request", "before_api_response", "after_api_request", "on_api_error"],
    ),
    "configuration files": (
        "kernel/model_checkpoint/config/watch.py",
        [
            "before_config_load", "after_config_load", "before_config_update", "after_config_update",
            "on_config_validation_error",
        ],
    ),
    "the lifecycle of plugins": ("kernel/model_checkpoint/plugins/lifecycle.py", ["after_plugin_unload"]),
    "performance budgets": (
        "plugins_builtin/model_checkpoint/monitoring/budgets.py",
        ["on_performance_threshold"],
    ),
    "migration": (
        "plugins_builtin/model_checkpoint/migration/readers",
        ["before_migration", "after_migration", "on_migration_error"],
    ),
    "the dashboard": (
        "plugins_builtin/model_checkpoint/visualization",
        ["before_dashboard_update", "after_dashboard_update"],
    ),
}  # fmt: skip
"""Capability -> the file or folder that it will stand in, and the events that it will fire."""


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


def test_every_event_is_fired_or_in_the_table_of_those_to_come() -> None:
    waiting = {event for _, events in NOT_FIRED_YET.values() for event in events}

    assert fired_events() | waiting == {event.value for event in HookEvent}
    assert fired_events() & waiting == set()


def test_no_capability_has_landed_without_its_events() -> None:
    landed = [capability for capability, (path, _) in NOT_FIRED_YET.items() if (ROOT / path).exists()]

    assert landed == [], "these fire their events now, or should: take them out of the table"
