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
        Descriptor,
        FrameworkAdapterDescriptor,
        RecordStoreDescriptor,
        SaveDecisionDescriptor,
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


@answer
def register_cloud_providers(kernel: object) -> Iterable[Descriptor]:
    """Provide places beyond this machine, by the scheme of their URL."""
    return ()


@answer
def register_notifiers(kernel: object) -> Iterable[Descriptor]:
    """Provide ways to tell people."""
    return ()


@answer
def register_selectors(kernel: object) -> Iterable[Descriptor]:
    """Provide ways to rank checkpoints."""
    return ()


@answer
def register_stoppers(kernel: object) -> Iterable[Descriptor]:
    """Provide rules that decide when a training should stop."""
    return ()


@answer
def register_retention_policies(kernel: object) -> Iterable[Descriptor]:
    """Provide rules that mark checkpoints to keep or to drop, each with a reason."""
    return ()


@answer
def register_integrity_algorithms(kernel: object) -> Iterable[Descriptor]:
    """Provide digests of stored bytes."""
    return ()


@answer
def register_save_decisions(kernel: object) -> Iterable[SaveDecisionDescriptor]:
    """Provide rules that say whether to save now, and why."""
    return ()


@answer
def register_codecs(kernel: object) -> Iterable[Descriptor]:
    """Provide ways to store bytes in less room."""
    return ()


@answer
def register_migrators(kernel: object) -> Iterable[Descriptor]:
    """Provide readers of checkpoints and runs in other tools' formats."""
    return ()


@answer
def register_api_routes(kernel: object) -> Iterable[Descriptor]:
    """Provide routes of the REST interface."""
    return ()


@answer
def register_commands(kernel: object) -> Iterable[Descriptor]:
    """Provide commands of the command line."""
    return ()


@answer
def register_dashboards(kernel: object) -> Iterable[Descriptor]:
    """Provide pages that show something."""
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
