"""Events of metrics, model selection, cloud transfers, notifications and retention."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_checkpoint.hooks.specs.marks import event

if TYPE_CHECKING:
    from model_checkpoint.hooks import contexts as c


@event(
    "metric_name*: str, value*: float, step: int | None, epoch: int | None, timestamp: float, tags*: dict[str, str]",
    hot=True,
    veto=True,
)
def before_metric_collection(context: c.BeforeMetricCollectionContext, kernel: object = None) -> object:
    """A value is about to be recorded. A veto drops it."""


@event(
    "metric_name: str, value: float, step: int | None, epoch: int | None, timestamp: float,"
    " aggregate: MetricAggregate | None",
    hot=True,
)
def after_metric_collection(context: c.AfterMetricCollectionContext, kernel: object = None) -> object:
    """A value was recorded; ``aggregate`` is what is known of its metric now."""


@event("metric_name: str, value: float, threshold: float, direction: str, step: int | None, previous: float | None")
def on_metric_threshold(context: c.OnMetricThresholdContext, kernel: object = None) -> object:
    """A metric crossed a threshold."""


@event("metric_name: str, trend: str, slope: float, window: int, step: int | None")
def on_metric_trend(context: c.OnMetricTrendContext, kernel: object = None) -> object:
    """The trend of a metric changed. ``slope`` is per step."""


@event("candidates*: list[object], criteria*: dict[str, object], mode: str", veto=True)
def before_model_selection(context: c.BeforeModelSelectionContext, kernel: object = None) -> object:
    """Checkpoints are about to be ranked."""


@event("winner: str | None, ranking: tuple[str, ...], scores: Mapping[str, float], criteria: Mapping[str, object]")
def after_model_selection(context: c.AfterModelSelectionContext, kernel: object = None) -> object:
    """Checkpoints were ranked, the best one first."""


@event(
    "checkpoint_id: str, metric: str, mode: str, value: float, previous_id: str | None, previous_value: float | None"
)
def on_best_model_update(context: c.OnBestModelUpdateContext, kernel: object = None) -> object:
    """A checkpoint became the best of its run by one metric."""


@event("metric: str, best_value: float, best_step: int | None, step: int | None, patience: int", veto=True)
def on_early_stop(context: c.OnEarlyStopContext, kernel: object = None) -> object:
    """A training is about to be stopped early. ``patience`` is in checks."""


@event(
    "provider: str, local_path: Path, remote_path*: str, nbytes: int, checksum: str, metadata*: dict[str, str],"
    " part_size*: int",
    veto=True,
)
def before_cloud_upload(context: c.BeforeCloudUploadContext, kernel: object = None) -> object:
    """A file is about to be uploaded. ``part_size`` is in bytes."""


@event(
    "provider: str, remote_path: str, uri: str, nbytes: int, nbytes_sent: int, etag: str, verified: bool,"
    " attempts: int, duration_s: float"
)
def after_cloud_upload(context: c.AfterCloudUploadContext, kernel: object = None) -> object:
    """A file was uploaded."""


@event("provider: str, remote_path: str, local_path*: Path, nbytes: int", veto=True)
def before_cloud_download(context: c.BeforeCloudDownloadContext, kernel: object = None) -> object:
    """A file is about to be downloaded."""


@event("provider: str, remote_path: str, local_path: Path, nbytes: int, verified: bool, duration_s: float")
def after_cloud_download(context: c.AfterCloudDownloadContext, kernel: object = None) -> object:
    """A file was downloaded."""


@event("provider: str, operation: str, remote_path: str, error: BaseException, attempt: int, will_retry: bool")
def on_cloud_error(context: c.OnCloudErrorContext, kernel: object = None) -> object:
    """An object store refused an operation, or could not be reached."""


@event(
    "channel: str, recipients*: list[str], subject*: str, body*: str, severity: str, trigger: str, dedupe_key: str",
    veto=True,
)
def before_notification_send(context: c.BeforeNotificationSendContext, kernel: object = None) -> object:
    """A notification is about to be delivered."""


@event("channel: str, recipients: tuple[str, ...], subject: str, trigger: str, duration_s: float")
def after_notification_send(context: c.AfterNotificationSendContext, kernel: object = None) -> object:
    """A notification was delivered."""


@event("channel: str, error: BaseException | None, reason: str, attempt: int, will_retry: bool")
def on_notification_error(context: c.OnNotificationErrorContext, kernel: object = None) -> object:
    """A notification could not be delivered."""


@event("policy: str, candidates: tuple[str, ...], keep*: set[str], reasons: Mapping[str, str]", veto=True)
def before_retention_policy(context: c.BeforeRetentionPolicyContext, kernel: object = None) -> object:
    """A retention policy has decided, and nothing was deleted yet. What a hook adds to ``keep`` stays."""


@event("policy: str, kept: tuple[str, ...], deleted: tuple[str, ...], nbytes_freed: int, reasons: Mapping[str, str]")
def after_retention_policy(context: c.AfterRetentionPolicyContext, kernel: object = None) -> object:
    """A retention policy was applied."""


@event("kind: str, targets*: list[str], nbytes: int, dry_run: bool", veto=True)
def before_cleanup(context: c.BeforeCleanupContext, kernel: object = None) -> object:
    """A clean-up job is about to remove its targets."""


@event("kind: str, removed: tuple[str, ...], nbytes_freed: int, errors: tuple[str, ...]")
def after_cleanup(context: c.AfterCleanupContext, kernel: object = None) -> object:
    """A clean-up job has ended."""
