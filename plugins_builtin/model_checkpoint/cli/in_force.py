"""Whether settings fit what is installed: the names that they speak of, and the section of each plugin."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from model_checkpoint.cli import notices
from model_checkpoint.errors import (
    CheckpointEngineError,
    ConfigurationError,
    UnknownBackendError,
    UnknownSchemeError,
)

if TYPE_CHECKING:
    from typing import Any

    from model_checkpoint.kernel import Kernel

    Registry = Any


def unmet(kernel: Kernel) -> Iterator[str]:
    """Yield a sentence for each setting that names what is not available here. Plugins that it names are imported."""
    config, provided = kernel.config, kernel.plugins.provided
    named = (
        ("storage.backend", provided.storage, config.storage.backend, UnknownBackendError),
        ("database.url", provided.schemes, config.database.scheme, UnknownSchemeError),
    )
    for key, table, name, unknown in named:
        if why := _lack(table, name, unknown):
            _, where = kernel.settings.loaded.origins.get(key, ("", ""))
            yield f"{where}: {key}: {why}" if where else f"{key}: {why}"
    try:
        kernel.plugins.require(config.required_plugins)
    except CheckpointEngineError as error:
        yield str(error)


def _lack(table: Registry, name: str, unknown: type[UnknownBackendError | UnknownSchemeError]) -> str:
    try:
        return "" if table.get(name) is not None else str(unknown(name, table.names()))
    except CheckpointEngineError as error:
        return str(error)


def sections(kernel: Kernel) -> tuple[list[str], list[str]]:
    """Import every installed plugin, and return what is wrong with their sections, and which cannot be checked."""
    wrong: list[str] = []
    unchecked: list[str] = []
    written, known = set(kernel.config.plugins), set[str]()
    for plugin in kernel.plugins.known():
        names = {plugin.section, plugin.section.replace("-", "_").lower()}  # the second where a variable sets it
        own = written & names
        known |= names
        if plugin.state == "registered" and (own or plugin.origin == "installed"):
            with notices.held_back():
                kernel.plugins.activate(plugin.name)
        if isinstance(plugin.cause, ConfigurationError):
            wrong += problems_of(plugin.cause)
        elif own and plugin.state != "active":
            unchecked.append(
                f"[plugins.{plugin.section}] cannot be checked: it {stands(plugin.state)}: {plugin.reason}"
            )
    unchecked += [f"[plugins.{name}] belongs to no plugin that is installed" for name in sorted(written - known)]
    return wrong, unchecked


def problems_of(error: ConfigurationError) -> tuple[str, ...]:
    """Return a sentence for each thing that is wrong."""
    return tuple(getattr(error, "problems", (str(error),)))


def stands(state: str) -> str:
    """Return the state of a plugin as it follows its name: ``is disabled``, ``failed``."""
    return "failed" if state == "failed" else f"is {state}"
