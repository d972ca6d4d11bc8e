"""What plugins are asked: what they provide, and the decisions that they may take.

Nothing of this is isolated. A registration hook that raises marks its own plugin as failed; a decision hook that raises
ends the operation, because an answer is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from model_checkpoint.hooks.specs.marks import answer, decision

if TYPE_CHECKING:  # a fifth of what importing the hooks would cost
    from model_checkpoint.contracts import (
        AnalyzerDescriptor,
        CheckpointRecord,
        FrameworkAdapterDescriptor,
        RecordStoreDescriptor,
        StorageBackendDescriptor,
    )


@answer
def register_storage_backends(kernel: object) -> Iterable[StorageBackendDescriptor]:
    """Provide storage backends."""
    return ()


@answer
def register_record_stores(kernel: object) -> Iterable[RecordStoreDescriptor]:
    """Provide record stores."""
    return ()


@answer
def register_framework_adapters(kernel: object) -> Iterable[FrameworkAdapterDescriptor]:
    """Provide adapters that capture and restore the objects of a framework."""
    return ()


@answer
def register_analyzers(kernel: object) -> Iterable[AnalyzerDescriptor]:
    """Provide analyzers that fold metrics or timings."""
    return ()


@decision
def choose_storage_backend(context: object) -> str | None:
    """Name the backend for this save. ``context`` is that of ``before_checkpoint_save``; None leaves it to others."""
    return None


@decision
def make_checkpoint_id(context: object) -> str | None:
    """Name the new checkpoint: letters, digits and ``. _ + = -``. None gives it the usual name."""
    return None


@decision
def compare_checkpoints(a: CheckpointRecord, b: CheckpointRecord | None, metric: str, mode: str) -> int | None:
    """Say which is better by `metric`: a positive number where `a` is. None leaves it to the numbers."""
    return None


@decision
def resolve_credentials(provider: str, scope: str) -> Mapping[str, str] | None:
    """Give the credentials for a provider; None where this plugin has none."""
    return None
