"""How plugins are found, loaded in isolation, and asked what they provide."""

from model_checkpoint.plugins.discovery import FoundPlugin, discover
from model_checkpoint.plugins.loader import PluginInfo, PluginSet, PluginState, label_of
from model_checkpoint.plugins.registry import Provided, Registry

__all__ = ["FoundPlugin", "PluginInfo", "PluginSet", "PluginState", "Provided", "Registry", "discover", "label_of"]
