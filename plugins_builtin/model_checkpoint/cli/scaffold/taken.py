"""Whether somebody else has the name of a new plugin already, or of what it is to provide."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping

from model_checkpoint.errors import CheckpointEngineError, InvalidNameError
from model_checkpoint.kernel import Kernel


def taken(name: str, files: Mapping[str, str]) -> str:
    """Return what stands in the way of a new plugin among those that are installed, or empty.

    Raises ``InvalidNameError`` where what it would provide ships with the engine.
    """
    manifest = next(text for path, text in files.items() if path.endswith("/plugin.toml"))
    provides = set(tomllib.loads(manifest)["plugin"][name].get("provides", ()))
    try:
        with Kernel.prepare() as kernel:
            infos = kernel.plugins.list()
    except CheckpointEngineError:  # settings that cannot be read: beginning a plugin does not need them
        return ""
    for each in infos:
        if both := sorted(provides.intersection(each.provides)):
            if each.origin == "builtin":
                raise InvalidNameError(
                    f"{both[0]} ships with the engine, in the plugin {each.name!r}: choose another name"
                )
            return f"the installed plugin {each.name!r} provides {both[0]} too: of the two only one can be used"
        if each.name == name:
            return f"an installed plugin is called {name!r} too: of the two only one can be used"
    return ""
