"""What plugins promise: one Protocol and its value types per kind of plugin. No logic lives here.

The prose of each Protocol is numbered; the conformance kits in ``model_checkpoint.testing`` test it number by number.
"""

from model_checkpoint.contracts.analysis import Analyzer, AnalyzerDescriptor, MetricAggregate
from model_checkpoint.contracts.framework import (
    FrameworkAdapter,
    FrameworkAdapterDescriptor,
    Mismatches,
    TensorView,
    TypedLeaf,
)
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
)
from model_checkpoint.contracts.state import JSON, Buffer, CheckpointPayload
from model_checkpoint.contracts.storage import (
    CollectReport,
    StorageBackend,
    StorageBackendDescriptor,
    StorageCapabilities,
    StoredFile,
    VerifyReport,
    WriteReceipt,
)

__all__ = [
    "JSON",
    "Analyzer",
    "AnalyzerDescriptor",
    "BestFlag",
    "Buffer",
    "CheckpointPayload",
    "CheckpointRecord",
    "CollectReport",
    "EventRecord",
    "ExperimentRecord",
    "FrameworkAdapter",
    "FrameworkAdapterDescriptor",
    "MetricAggregate",
    "MetricPoint",
    "Mismatches",
    "RecordStore",
    "RecordStoreDescriptor",
    "RunRecord",
    "RunStatus",
    "StorageBackend",
    "StorageBackendDescriptor",
    "StorageCapabilities",
    "StoredFile",
    "TensorView",
    "TypedLeaf",
    "VerifyReport",
    "WriteReceipt",
]
