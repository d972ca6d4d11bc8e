"""How plugins are found, admitted, ordered, activated when they are needed, and taken down again."""

from model_checkpoint.plugins.activation import Plugin, call_optional
from model_checkpoint.plugins.discovery import FoundPlugin, discover
from model_checkpoint.plugins.info import PluginInfo, disabled_sentence, label_of
from model_checkpoint.plugins.lifecycle import PluginSet
from model_checkpoint.plugins.policy import KERNEL_API, PluginState, Policy
from model_checkpoint.plugins.registry import Provided, Registry
from model_checkpoint.plugins.states import PluginStates

__all__ = [
    "KERNEL_API",
    "FoundPlugin",
    "Plugin",
    "PluginInfo",
    "PluginSet",
    "PluginState",
    "PluginStates",
    "Policy",
    "Provided",
    "Registry",
    "call_optional",
    "disabled_sentence",
    "discover",
    "label_of",
]
