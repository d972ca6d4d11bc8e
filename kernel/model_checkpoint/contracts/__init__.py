"""What plugins promise: one Protocol and its value types per kind of plugin. No logic lives here.

The prose of each Protocol is numbered; the conformance kits in ``model_checkpoint.testing`` test it number by number.

A name's module is imported when the name is first asked for: defining all of these values takes as long as importing
pluggy, and most of what imports this package names them in annotations only.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from model_checkpoint.contracts.analysis import Analyzer, AnalyzerDescriptor, MetricAggregate
    from model_checkpoint.contracts.cadence import (
        CanBegin,
        Decision,
        Moment,
        SaveCadence,
        SaveDecision,
        SaveDecisionDescriptor,
    )
    from model_checkpoint.contracts.codec import CodecDescriptor, WriteTensors
    from model_checkpoint.contracts.command import CommandDescriptor
    from model_checkpoint.contracts.descriptor import Descriptor
    from model_checkpoint.contracts.framework import (
        FrameworkAdapter,
        FrameworkAdapterDescriptor,
        Mismatches,
        TensorView,
        TypedLeaf,
    )
    from model_checkpoint.contracts.marks import MARK_KINDS, Mark, MarkKeeper
    from model_checkpoint.contracts.ranks import RankGroup
    from model_checkpoint.contracts.records import (
        BestFlag,
        CheckpointRecord,
        EventRecord,
        ExperimentRecord,
        MetricPoint,
        RecordStore,
        RecordStoreDescriptor,
        RunRecord,
        RunStatus,
        Versioned,
    )
    from model_checkpoint.contracts.state import JSON, Buffer, CheckpointPayload
    from model_checkpoint.contracts.storage import (
        DEPTHS,
        CanUndo,
        CollectReport,
        StorageBackend,
        StorageBackendDescriptor,
        StorageCapabilities,
        StoredCheckpoint,
        StoredFile,
        VerifyReport,
        WriteReceipt,
    )

__all__ = [
    "DEPTHS",
    "JSON",
    "MARK_KINDS",
    "Analyzer",
    "AnalyzerDescriptor",
    "BestFlag",
    "Buffer",
    "CanBegin",
    "CanUndo",
    "CheckpointPayload",
    "CheckpointRecord",
    "CodecDescriptor",
    "CollectReport",
    "CommandDescriptor",
    "Decision",
    "Descriptor",
    "EventRecord",
    "ExperimentRecord",
    "FrameworkAdapter",
    "FrameworkAdapterDescriptor",
    "Mark",
    "MarkKeeper",
    "MetricAggregate",
    "MetricPoint",
    "Mismatches",
    "Moment",
    "RankGroup",
    "RecordStore",
    "RecordStoreDescriptor",
    "RunRecord",
    "RunStatus",
    "SaveCadence",
    "SaveDecision",
    "SaveDecisionDescriptor",
    "StorageBackend",
    "StorageBackendDescriptor",
    "StorageCapabilities",
    "StoredCheckpoint",
    "StoredFile",
    "TensorView",
    "TypedLeaf",
    "VerifyReport",
    "Versioned",
    "WriteReceipt",
    "WriteTensors",
]

_NAMES = {
    "state": "JSON Buffer CheckpointPayload",
    "records": "BestFlag CheckpointRecord EventRecord ExperimentRecord MetricPoint RecordStore RecordStoreDescriptor"
    " RunRecord RunStatus Versioned",
    "storage": "DEPTHS CanUndo CollectReport StorageBackend StorageBackendDescriptor StorageCapabilities"
    " StoredCheckpoint StoredFile VerifyReport WriteReceipt",
    "framework": "FrameworkAdapter FrameworkAdapterDescriptor Mismatches TensorView TypedLeaf",
    "cadence": "CanBegin Decision Moment SaveCadence SaveDecision SaveDecisionDescriptor",
    "codec": "CodecDescriptor WriteTensors",
    "command": "CommandDescriptor",
    "descriptor": "Descriptor",
    "marks": "MARK_KINDS Mark MarkKeeper",
    "ranks": "RankGroup",
    "analysis": "Analyzer AnalyzerDescriptor MetricAggregate",
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value  # the next look-up does not come here
    return value
