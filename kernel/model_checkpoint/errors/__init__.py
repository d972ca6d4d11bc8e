"""Every error that the engine raises on purpose.

Each inherits the builtin it resembles, so ``except FileNotFoundError`` works where a reader would expect it to.
Messages say what happened, to what, what was found, and what to do; several problems are reported at once.

::

    CheckpointEngineError
    ├── ConfigurationError (ValueError)
    │   ├── UnknownBackendError (LookupError)       no storage backend of that name
    │   ├── UnknownSchemeError (LookupError)        no record store for that URL scheme
    │   ├── ConfigProblems                          settings that cannot be used; all that is wrong at once
    │   ├── SecretNotFoundError (LookupError)       a secret that is not where its reference says
    │   └── InvalidNameError                        a name, id or tag that cannot be used as one
    ├── KernelError (RuntimeError)
    │   ├── NoKernelError                           something needs an open kernel and there is none
    │   ├── AmbiguousKernelError                    several kernels are open: say which with kernel=
    │   ├── KernelClosedError                       the kernel was closed before this call
    │   └── RunInUseError                           another live process holds this run
    ├── PluginError
    │   ├── PluginLoadError (ImportError)           a plugin that could not be loaded
    │   ├── ManifestError (ValueError)              a plugin.toml that says nothing usable
    │   ├── PluginConflictError                     two plugins provide the same thing
    │   ├── MissingExtraError (ImportError)         an optional dependency is not installed
    │   └── NotInThisVersionError (NotImplementedError)   named in the interface, not built yet
    ├── HookError
    │   ├── HookRegistrationError (TypeError)       a hook that can never be called as it is written
    │   ├── UnknownEventError (ValueError)          no event of that name
    │   ├── ContextFieldError (AttributeError)      a field that the event lacks or that hooks may not change
    │   ├── HookTimeoutError (TimeoutError)         a hook took longer than its own limit
    │   └── OperationVetoed                         a hook stopped the operation, deliberately
    ├── CheckpointError
    │   ├── UnstorableStateError (TypeError)        a leaf that cannot be stored, with its path
    │   ├── StateDecodeError (ValueError)           a stored tree that this process cannot rebuild
    │   ├── StateMismatchError (ValueError)         the state does not fit the objects given; nothing was changed
    │   ├── ProtectedCheckpointError                one that is pinned or has an alias is not deleted
    │   ├── PartialRestoreError (RuntimeError)      a restore broke off half-way; names what was overwritten
    │   ├── CheckpointNotFoundError (LookupError)   no such checkpoint
    │   ├── CheckpointExistsError (FileExistsError) an id is never written twice
    │   ├── MetricError (ValueError)                a metric that is no number, or whose better direction is unclear
    │   └── NothingToResumeError (LookupError)      every checkpoint of the run is damaged
    ├── StorageError (OSError)
    │   ├── IntegrityError                          stored bytes are not the bytes that were written
    │   │   └── MissingFileError (FileNotFoundError)
    │   ├── StorageFullError                        no space or no quota left
    │   ├── StorageReadOnlyError (PermissionError)  the directory cannot be written
    │   └── TornSnapshotError                   the state changed while it was being saved
    └── RecordStoreError
        ├── RecordStoreBusyError (TimeoutError)     locked by others for longer than the busy timeout
        ├── RecordStoreDamagedError                 the database itself is damaged
        ├── SchemaVersionError                      written by a newer version of the engine
        ├── StaleGenerationError                    someone committed in between: rank again
        └── QuerySyntaxError (ValueError)           shows the position and what was expected

`Veto` is not an error but the way in which a hook says no; it stands apart from the tree.
"""

from model_checkpoint.errors.base import CheckpointEngineError
from model_checkpoint.errors.checkpoint import (
    CheckpointError,
    CheckpointExistsError,
    CheckpointNotFoundError,
    MetricError,
    NothingToResumeError,
    PartialRestoreError,
    ProtectedCheckpointError,
    StateDecodeError,
    StateMismatchError,
    UnstorableStateError,
)
from model_checkpoint.errors.configuration import (
    AmbiguousKernelError,
    ConfigProblems,
    ConfigurationError,
    InvalidNameError,
    KernelClosedError,
    KernelError,
    NoKernelError,
    RunInUseError,
    SecretNotFoundError,
    UnknownBackendError,
    UnknownSchemeError,
)
from model_checkpoint.errors.plugin import (
    ContextFieldError,
    HookError,
    HookRegistrationError,
    HookTimeoutError,
    ManifestError,
    MissingExtraError,
    NotInThisVersionError,
    OperationVetoed,
    PluginConflictError,
    PluginError,
    PluginLoadError,
    UnknownEventError,
    Veto,
)
from model_checkpoint.errors.storage import (
    IntegrityError,
    MissingFileError,
    QuerySyntaxError,
    RecordStoreBusyError,
    RecordStoreDamagedError,
    RecordStoreError,
    SchemaVersionError,
    StaleGenerationError,
    StorageError,
    StorageFullError,
    StorageReadOnlyError,
    TornSnapshotError,
)

__all__ = [
    "AmbiguousKernelError",
    "CheckpointEngineError",
    "CheckpointError",
    "CheckpointExistsError",
    "CheckpointNotFoundError",
    "ConfigProblems",
    "ConfigurationError",
    "ContextFieldError",
    "HookError",
    "HookRegistrationError",
    "HookTimeoutError",
    "IntegrityError",
    "InvalidNameError",
    "KernelClosedError",
    "KernelError",
    "ManifestError",
    "MetricError",
    "MissingExtraError",
    "MissingFileError",
    "NoKernelError",
    "NotInThisVersionError",
    "NothingToResumeError",
    "OperationVetoed",
    "PartialRestoreError",
    "PluginConflictError",
    "PluginError",
    "PluginLoadError",
    "ProtectedCheckpointError",
    "QuerySyntaxError",
    "RecordStoreBusyError",
    "RecordStoreDamagedError",
    "RecordStoreError",
    "RunInUseError",
    "SchemaVersionError",
    "SecretNotFoundError",
    "StaleGenerationError",
    "StateDecodeError",
    "StateMismatchError",
    "StorageError",
    "StorageFullError",
    "StorageReadOnlyError",
    "TornSnapshotError",
    "UnknownBackendError",
    "UnknownEventError",
    "UnknownSchemeError",
    "UnstorableStateError",
    "Veto",
]
