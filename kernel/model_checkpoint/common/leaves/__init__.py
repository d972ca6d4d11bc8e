"""The typed leaf vocabulary: how a tree of Python values becomes JSON and comes back as what it was. Never pickle.

What JSON has is written as JSON: None, bool, int up to 2**53, finite float, str, list, dict with plain string keys.
Everything else is a node with a ``"$"``::

    (0.9, 0.999)            {"$": "tuple", "v": [0.9, 0.999]}
    {0: "a"}                {"$": "dict", "v": [[0, "a"]]}
    Counter({30: 1})        {"$": "counter", "v": [[30, 1]]}
    float("inf")            {"$": "float", "v": "inf"}
    b"\\x00"                 {"$": "bytes", "v": "AA=="}
    Stage.FINE              {"$": "enum", "class": "train:Stage", "v": "FINE"}

A tensor, or anything else of a framework, is handed to the caller, who returns a node of its own kind. Enums and named
tuples come back only through classes that this process has already imported: reading a tree imports nothing.
"""

from model_checkpoint.common.leaves.read import ForeignNode, decode
from model_checkpoint.common.leaves.vocabulary import KIND, MAX_DEPTH, child_path
from model_checkpoint.common.leaves.write import Foreign, encode

__all__ = ["KIND", "MAX_DEPTH", "Foreign", "ForeignNode", "child_path", "decode", "encode"]
