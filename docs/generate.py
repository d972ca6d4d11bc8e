"""Writes what is generated from the code: the stub of the context classes, the pages of all events and settings.

./dev generate          write them
./dev generate --check  exit with status 1 where one is out of date
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from model_checkpoint.config.keys import dotted, known
from model_checkpoint.config.schema import DatabaseConfig, HooksConfig, KernelConfig, StorageConfig
from model_checkpoint.hooks.contexts import COMMON, class_name
from model_checkpoint.hooks.specs import EVENTS, EventSpec, answers, core, insight, surfaces

ROOT = Path(__file__).resolve().parents[1]
STUB = ROOT / "kernel/model_checkpoint/hooks/contexts.pyi"
PAGE = ROOT / "docs/events.md"
SETTINGS = ROOT / "docs/settings.md"

AWAITED = {
    "trends and thresholds": ["on_metric_threshold", "on_metric_trend"],
    "model selection": ["before_model_selection", "after_model_selection"],
    "early stopping": ["on_early_stop"],
    "cloud transfers": [
        "before_cloud_upload",
        "after_cloud_upload",
        "before_cloud_download",
        "after_cloud_download",
        "on_cloud_error",
    ],
    "notifications": ["before_notification_send", "after_notification_send", "on_notification_error"],
    "retention and clean-up": ["before_retention_policy", "after_retention_policy", "before_cleanup", "after_cleanup"],
    "the REST interface": ["before_api_request", "before_api_response", "after_api_request", "on_api_error"],
    "performance budgets": ["on_performance_threshold"],
    "migration": ["before_migration", "after_migration", "on_migration_error"],
    "the dashboard": ["before_dashboard_update", "after_dashboard_update"],
}
"""Capability -> events that are declared and not fired before it is there."""

COMMON_TYPES = {
    "event": "HookEvent",
    "time": "float",
    "operation_id": "str",
    "experiment_id": "str | None",
    "run_id": "str | None",
    "run_name": "str | None",
    "checkpoint_id": "str | None",
    "rank": "int",
    "world_size": "int",
    "origin": "str",
    "user_data": "dict[str, object]",
}
COMMON_MEANING = {
    "event": "the event",
    "time": "Unix time in seconds",
    "operation_id": "the same for the before, after and error of one operation",
    "experiment_id": "where there is an experiment",
    "run_id": "where there is a run",
    "run_name": "its readable name, such as `digits-7`",
    "checkpoint_id": "where there is a checkpoint",
    "rank": "of this process, 0 where there is one process only",
    "world_size": "how many processes there are",
    "origin": "script, api, cli or plugin",
    "user_data": "a dict that all hooks of one operation share",
}
STUB_HEAD = '''"""The context classes as type checkers see them. Generated from `hooks.specs` by ``./dev generate``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from model_checkpoint.contracts import JSON, MetricAggregate
from model_checkpoint.hooks.events import HookEvent

COMMON: tuple[str, ...]
LIVE: frozenset[str]
Self = TypeVar("Self", bound="Context")

class Context:
    _fields: ClassVar[tuple[str, ...]]
    _writable: ClassVar[Mapping[str, str]]
    _vetoable: ClassVar[bool]
{common}
    def __init__(self, **fields: object) -> None: ...
    def get(self, name: str, default: Any = None) -> Any: ...
    def set(self, name: str, value: object) -> None: ...
    def update(self, changes: Mapping[str, object] | None = None, **more: object) -> None: ...
    def veto(self, reason: str = "no reason given") -> None: ...
    def __getitem__(self, name: str) -> Any: ...
    def __setitem__(self, name: str, value: object) -> None: ...
    def __contains__(self, name: object) -> bool: ...
    def __getattr__(self, name: str) -> Any: ...

def detached(context: Self) -> Self: ...
def snapshot(context: Self) -> Self: ...
def merge(context: Context, changed: Context) -> None: ...
def context_class(event: str) -> type[Context]: ...
def class_name(event: str) -> str: ...
'''
PAGE_HEAD = """# Events

The {count} events of the engine, in the order of a training's life. This page is generated from the hookspecs; how to
listen is told in [Hooks](hooks.md).

A context carries the fields of its event and these:

| field | meaning |
|---|---|
{common}

A star marks the fields that a hook may change. *veto*: a hook may stop the operation. *hot*: where nobody listens, it
costs nothing. *historic*: plugins that register later still get it.
"""


def stub() -> str:
    """Return the text of ``contexts.pyi``."""
    common = "\n".join(_property(name, kind) for name, kind in COMMON_TYPES.items())
    return STUB_HEAD.format(common=common) + "".join(_class(spec) for spec in EVENTS.values())


def _class(spec: EventSpec) -> str:
    fields = (f"    {f.name}: {f.type}" if f.writable else _property(f.name, f.type) for f in spec.fields)
    return "\n".join([f"\nclass {class_name(spec.name)}(Context):", *fields]) + "\n"


def _property(name: str, kind: str) -> str:
    return f"    @property\n    def {name}(self) -> {kind}: ..."


def page() -> str:
    """Return the text of ``docs/events.md``."""
    common = "\n".join(f"| `{name}` | {COMMON_MEANING[name]} |" for name in COMMON)
    text = PAGE_HEAD.format(count=len(EVENTS), common=common)
    for module in (core, insight, surfaces):
        text += f"\n## {_title(module.__doc__)}\n"
        own = [spec for spec in EVENTS.values() if hasattr(module, spec.name)]
        text += "".join(_section(spec) for spec in own)
    return text + f"\n## {_title(answers.__doc__)}\n" + "".join(_questions())


def _title(doc: str | None) -> str:
    first = (doc or "").strip().splitlines()[0].rstrip(".")
    return first.removeprefix("Events of ")[:1].upper() + first.removeprefix("Events of ")[1:]


def _section(spec: EventSpec) -> str:
    flags = [flag for flag in ("veto", "hot", "historic") if getattr(spec, flag)]
    marks = f" *{', '.join(flags)}*" if flags else ""
    marks += "".join(f" **Not fired yet:** it awaits {c}." for c, events in AWAITED.items() if spec.name in events)
    fields = ", ".join(f"`{f.name}`{chr(92) + '*' if f.writable else ''}" for f in spec.fields)
    return f"\n### `{spec.name}`\n\n{_folded(spec.summary)}{marks}\n\nFields: {fields}\n"


def _questions() -> Iterator[str]:
    for name, function in inspect.getmembers(answers, inspect.isfunction):
        if hasattr(function, "model_checkpoint_spec"):
            arguments = ", ".join(inspect.signature(function).parameters)
            yield f"\n### `{name}({arguments})`\n\n{_folded(inspect.getdoc(function) or '')}\n"


def _folded(text: str) -> str:
    return re.sub(r"``", "`", re.sub(r"\s+", " ", text))


SETTINGS_HEAD = """# Settings

Every setting of the engine. This page is generated from the schema; where settings are written, and which of two wins,
is told in [Configuration](configuration.md).

*live*: a change counts at once. *next operation*: from the next save, load or check on. *restart*: from the next start.

| key | default | variable | a change counts | meaning |
|---|---|---|---|---|
"""


def settings() -> str:
    """Return the text of ``docs/settings.md``."""
    sections = {"database": DatabaseConfig, "storage": StorageConfig, "hooks": HooksConfig}
    rows, plain = [], KernelConfig()
    for key, each in known().items():
        owner = sections.get(key[0], KernelConfig)
        value = getattr(plain if len(key) == 1 else getattr(plain, key[0]), key[-1])
        default = f"`{_as_toml(value)}`" if value != () else "none"
        meaning = _meaning(owner, key[-1])
        rows.append(f"| `{dotted(key)}` | {default} | `{each.variable}` | {each.applies} | {meaning} |")
    return SETTINGS_HEAD + "\n".join(rows) + "\n"


def _as_toml(value: object) -> str:
    return (
        str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str | Path) else str(value)
    )


def _meaning(owner: type, name: str) -> str:
    """Return the docstring under a field, without the variable that it begins with."""
    source = inspect.getsource(owner)
    text = re.search(rf'^    {name}: .*?\n    """(.*?)"""', source, re.DOTALL | re.MULTILINE)
    said = _folded(text[1]) if text else ""
    return re.sub(r"^`MCE_\w+`[:;.]? ?", "", said)


GENERATED: dict[Path, Callable[[], str]] = {STUB: stub, PAGE: page, SETTINGS: settings}


def main() -> int:
    """Write the files, or with --check say which are out of date."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    stale = [path for path, text in GENERATED.items() if not path.exists() or path.read_text("utf-8") != text()]
    for path in stale:
        if options.check:
            print(f"{path.relative_to(ROOT)} is out of date: run ./dev generate", file=sys.stderr)
        else:
            path.write_text(GENERATED[path](), "utf-8")
            print(f"wrote {path.relative_to(ROOT)}")
    return 1 if options.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
