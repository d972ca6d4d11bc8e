"""Events of the REST interface, configuration, plugins, performance, migration and dashboards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_checkpoint.hooks.specs.marks import event

if TYPE_CHECKING:
    from model_checkpoint.hooks import contexts as c


@event(
    "method: str, path: str, headers: Mapping[str, str], query: Mapping[str, str], body*: bytes | None, client: str,"
    " principal*: str | None",
    hot=True,
    veto=True,
)
def before_api_request(context: c.BeforeApiRequestContext, kernel: object = None) -> object:
    """A request has arrived."""


@event("method: str, path: str, status*: int, headers*: dict[str, str], body*: bytes | None", hot=True)
def before_api_response(context: c.BeforeApiResponseContext, kernel: object = None) -> object:
    """A response is about to be sent."""


@event("method: str, path: str, status: int, cached: bool, duration_s: float, principal: str | None", hot=True)
def after_api_request(context: c.AfterApiRequestContext, kernel: object = None) -> object:
    """A request was answered."""


@event("method: str, path: str, error: BaseException, status*: int")
def on_api_error(context: c.OnApiErrorContext, kernel: object = None) -> object:
    """A request failed; ``status`` is what the client will see."""


@event("sources*: list[str], environment: str", veto=True)
def before_config_load(context: c.BeforeConfigLoadContext, kernel: object = None) -> object:
    """The configuration is about to be read. Only plugins registered early hear it."""


@event("config: Any, sources: tuple[str, ...], duration_s: float")
def after_config_load(context: c.AfterConfigLoadContext, kernel: object = None) -> object:
    """The configuration was read and validated."""


@event("old: Any, new: Any, changed_keys: tuple[str, ...], origin: str", veto=True)
def before_config_update(context: c.BeforeConfigUpdateContext, kernel: object = None) -> object:
    """A changed configuration is valid and about to be put into force."""


@event("old: Any, new: Any, changed_keys: tuple[str, ...], origin: str, needs_restart: tuple[str, ...]")
def after_config_update(context: c.AfterConfigUpdateContext, kernel: object = None) -> object:
    """A changed configuration is in force; keys in ``needs_restart`` wait for the next start."""


@event("errors: tuple[str, ...], source: str, kept_generation: int")
def on_config_validation_error(context: c.OnConfigValidationErrorContext, kernel: object = None) -> object:
    """A configuration was refused; the one before stays in force."""


@event("name: str, version: str, distribution: str, origin: str, manifest: Mapping[str, JSON] | None", veto=True)
def before_plugin_load(context: c.BeforePluginLoadContext, kernel: object = None) -> object:
    """A plugin is about to be imported. Only plugins registered early hear it of the installed ones."""


@event("name: str, version: str, hooks: tuple[str, ...], duration_s: float")
def after_plugin_load(context: c.AfterPluginLoadContext, kernel: object = None) -> object:
    """A plugin is in use."""


@event("plugin: str, hook: str, priority: int", hot=True, veto=True)
def before_plugin_execute(context: c.BeforePluginExecuteContext, kernel: object = None) -> object:
    """A hook of another plugin is about to be called. A veto skips that call."""


@event("plugin: str, hook: str, outcome: str, duration_s: float", hot=True)
def after_plugin_execute(context: c.AfterPluginExecuteContext, kernel: object = None) -> object:
    """A hook of another plugin was called; ``outcome`` is ok, error, timeout, veto or skipped."""


@event("plugin: str, hook: str, error: BaseException | None, timed_out: bool, consecutive: int, quarantined: bool")
def on_plugin_error(context: c.OnPluginErrorContext, kernel: object = None) -> object:
    """A hook failed, or a plugin could not be loaded; ``consecutive`` counts failures in a row."""


@event("name: str, reason: str, hooks: tuple[str, ...]")
def after_plugin_unload(context: c.AfterPluginUnloadContext, kernel: object = None) -> object:
    """A plugin was taken out of use."""


@event("operation: str, p50_s: float, p95_s: float, p99_s: float, budget_s: float, samples: int")
def on_performance_threshold(context: c.OnPerformanceThresholdContext, kernel: object = None) -> object:
    """An operation exceeded its time budget."""


@event("source: Path, format_type: str, item_count: int, dry_run: bool", veto=True)
def before_migration(context: c.BeforeMigrationContext, kernel: object = None) -> object:
    """Checkpoints of another format are about to be imported."""


@event("source: Path, format_type: str, migrated: int, skipped: int, failed: int, report_path: Path | None")
def after_migration(context: c.AfterMigrationContext, kernel: object = None) -> object:
    """An import has ended."""


@event("source: Path, item: str, error: BaseException, action*: str")
def on_migration_error(context: c.OnMigrationErrorContext, kernel: object = None) -> object:
    """One item could not be imported; ``action`` is skip or stop."""


@event("dashboard: str, panels*: list[object]", veto=True)
def before_dashboard_update(context: c.BeforeDashboardUpdateContext, kernel: object = None) -> object:
    """A dashboard is about to be rendered."""


@event("dashboard: str, path: Path | None, panel_count: int, duration_s: float")
def after_dashboard_update(context: c.AfterDashboardUpdateContext, kernel: object = None) -> object:
    """A dashboard was rendered."""
