"""Where settings come from, in the order in which later ones win."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from model_checkpoint.errors import ConfigurationError

APPLICATION = "model-checkpoint-engine"
FILE, SECRETS, ENFORCED = "mce.toml", ".secrets.toml", "enforced.toml"


@dataclass(frozen=True, slots=True)
class ConfigSources:
    """Everything that is read, settled once; it is read anew at every reload."""

    files: tuple[tuple[str, Path], ...] = ()
    """(layer, path): ``machine``, ``user``, ``project``, ``secrets``, later wins; ``enforced`` wins over all."""
    environment: str = "development"
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    arguments: Mapping[str, object] = field(default_factory=dict, repr=False)
    """Dotted key -> value."""
    required: tuple[Path, ...] = ()
    """Files that somebody asked for by name: without them nothing is loaded."""
    cwd: Path | None = None
    """What relative paths are relative to; None is the working directory at the time of reading."""

    @classmethod
    def usual(
        cls,
        environ: Mapping[str, str] = os.environ,
        config_file: str | os.PathLike[str] | None = None,
        cwd: Path | None = None,
        arguments: Mapping[str, object] | None = None,
    ) -> ConfigSources:
        """Return the files where they usually lie, whether they are there or not, and the environment as it is now.

        The project's file is `config_file`, else ``$MCE_CONFIG``, else ``mce.toml`` in `cwd`; its secrets lie beside.
        """
        from platformdirs import site_config_path

        try:
            here = cwd or Path.cwd()
        except FileNotFoundError:
            raise ConfigurationError("the working directory is gone: change to one that exists") from None
        asked = config_file or environ.get("MCE_CONFIG")
        try:
            project = here / Path(asked or FILE).expanduser()
        except (RuntimeError, TypeError) as error:
            raise ConfigurationError(f"the file of settings {asked!r} is no path: {error}") from None
        machine = site_config_path(APPLICATION, appauthor=False)
        return cls(
            files=(
                ("machine", machine / FILE),
                *(("user", folder / FILE) for folder in _user_folder()),
                ("project", project),
                ("secrets", project.parent / SECRETS),
                ("enforced", _enforced_folder(machine) / ENFORCED),
            ),
            environment=environ.get("MCE_ENV") or "development",
            environ=dict(environ),
            arguments=dict(arguments or {}),
            required=(project,) if asked else (),
            cwd=here,
        )


def _user_folder() -> list[Path]:
    """Return the user's folder; none where the user has no home, as in a container with a made-up uid."""
    from platformdirs import user_config_path

    try:
        return [user_config_path(APPLICATION, appauthor=False)]
    except RuntimeError:
        return []


def _enforced_folder(machine: Path) -> Path:
    """Return a folder that no variable of a user moves."""
    return machine if os.name == "nt" else Path("/etc", APPLICATION)
