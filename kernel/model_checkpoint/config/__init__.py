"""Settings: a typed, frozen snapshot, read once per operation."""

from model_checkpoint.config.load import load_config
from model_checkpoint.config.schema import DatabaseConfig, HooksConfig, KernelConfig, StorageConfig

__all__ = ["DatabaseConfig", "HooksConfig", "KernelConfig", "StorageConfig", "load_config"]
