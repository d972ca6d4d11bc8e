"""The sixty-four events by name, and the bands in which hooks are called.

An event's value is the name of its hookspec; what its context carries stands with the hookspec, in `hooks.specs`.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum


class HookPriority(IntEnum):
    """When a hook is called among others of its event: lower numbers first, first come, first served within one."""

    CRITICAL = 0
    HIGH = 25
    NORMAL = 50
    LOW = 75
    BACKGROUND = 100
    """Never blocks: called later, on a worker thread, with a snapshot of the context."""


class HookEvent(StrEnum):
    """Everything that hooks can listen to."""

    ON_SYSTEM_START = "on_system_start"
    ON_SYSTEM_SHUTDOWN = "on_system_shutdown"
    ON_EXPERIMENT_START = "on_experiment_start"
    ON_EXPERIMENT_END = "on_experiment_end"
    ON_RUN_START = "on_run_start"
    ON_RUN_END = "on_run_end"
    ON_RESUME = "on_resume"
    ON_ALIAS_CHANGE = "on_alias_change"
    BEFORE_CHECKPOINT_SAVE = "before_checkpoint_save"
    ON_CHECKPOINT_STAGED = "on_checkpoint_staged"
    AFTER_CHECKPOINT_SAVE = "after_checkpoint_save"
    ON_CHECKPOINT_SAVE_ERROR = "on_checkpoint_save_error"
    BEFORE_CHECKPOINT_LOAD = "before_checkpoint_load"
    AFTER_CHECKPOINT_LOAD = "after_checkpoint_load"
    ON_CHECKPOINT_LOAD_ERROR = "on_checkpoint_load_error"
    BEFORE_CHECKPOINT_DELETE = "before_checkpoint_delete"
    AFTER_CHECKPOINT_DELETE = "after_checkpoint_delete"
    BEFORE_INTEGRITY_CHECK = "before_integrity_check"
    AFTER_INTEGRITY_CHECK = "after_integrity_check"
    ON_INTEGRITY_FAILURE = "on_integrity_failure"
    BEFORE_DB_WRITE = "before_db_write"
    AFTER_DB_WRITE = "after_db_write"
    ON_DB_ERROR = "on_db_error"

    BEFORE_METRIC_COLLECTION = "before_metric_collection"
    AFTER_METRIC_COLLECTION = "after_metric_collection"
    ON_METRIC_THRESHOLD = "on_metric_threshold"
    ON_METRIC_TREND = "on_metric_trend"
    BEFORE_MODEL_SELECTION = "before_model_selection"
    AFTER_MODEL_SELECTION = "after_model_selection"
    ON_BEST_MODEL_UPDATE = "on_best_model_update"
    ON_EARLY_STOP = "on_early_stop"
    BEFORE_CLOUD_UPLOAD = "before_cloud_upload"
    AFTER_CLOUD_UPLOAD = "after_cloud_upload"
    BEFORE_CLOUD_DOWNLOAD = "before_cloud_download"
    AFTER_CLOUD_DOWNLOAD = "after_cloud_download"
    ON_CLOUD_ERROR = "on_cloud_error"
    BEFORE_NOTIFICATION_SEND = "before_notification_send"
    AFTER_NOTIFICATION_SEND = "after_notification_send"
    ON_NOTIFICATION_ERROR = "on_notification_error"
    BEFORE_RETENTION_POLICY = "before_retention_policy"
    AFTER_RETENTION_POLICY = "after_retention_policy"
    BEFORE_CLEANUP = "before_cleanup"
    AFTER_CLEANUP = "after_cleanup"

    BEFORE_API_REQUEST = "before_api_request"
    BEFORE_API_RESPONSE = "before_api_response"
    AFTER_API_REQUEST = "after_api_request"
    ON_API_ERROR = "on_api_error"
    BEFORE_CONFIG_LOAD = "before_config_load"
    AFTER_CONFIG_LOAD = "after_config_load"
    BEFORE_CONFIG_UPDATE = "before_config_update"
    AFTER_CONFIG_UPDATE = "after_config_update"
    ON_CONFIG_VALIDATION_ERROR = "on_config_validation_error"
    BEFORE_PLUGIN_LOAD = "before_plugin_load"
    AFTER_PLUGIN_LOAD = "after_plugin_load"
    BEFORE_PLUGIN_EXECUTE = "before_plugin_execute"
    AFTER_PLUGIN_EXECUTE = "after_plugin_execute"
    ON_PLUGIN_ERROR = "on_plugin_error"
    AFTER_PLUGIN_UNLOAD = "after_plugin_unload"
    ON_PERFORMANCE_THRESHOLD = "on_performance_threshold"
    BEFORE_MIGRATION = "before_migration"
    AFTER_MIGRATION = "after_migration"
    ON_MIGRATION_ERROR = "on_migration_error"
    BEFORE_DASHBOARD_UPDATE = "before_dashboard_update"
    AFTER_DASHBOARD_UPDATE = "after_dashboard_update"
