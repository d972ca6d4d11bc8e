"""Settings: a typed, frozen snapshot, read once per operation."""

from model_checkpoint.config.load import Loaded, load
from model_checkpoint.config.schema import DatabaseConfig, HooksConfig, KernelConfig, Section, StorageConfig
from model_checkpoint.config.sections import check_section
from model_checkpoint.config.show import Row, show
from model_checkpoint.config.sources import ConfigSources
from model_checkpoint.config.swap import ConfigSwap, Participant
from model_checkpoint.config.watch import ConfigWatcher

__all__ = [
    "ConfigSources",
    "ConfigSwap",
    "ConfigWatcher",
    "DatabaseConfig",
    "HooksConfig",
    "KernelConfig",
    "Loaded",
    "Participant",
    "Row",
    "Section",
    "StorageConfig",
    "check_section",
    "load",
    "show",
]
