"""What the environment sets: ``MCE_STORAGE_VERIFY`` or ``MCE_STORAGE__VERIFY``, and ``MCE_PLUGINS__S3__BUCKET``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from model_checkpoint.config.keys import PLUGINS, Key, Setting, in_a_variable, known

_OTHERS = {"MCE_RUN", "MCE_ENV", "MCE_CONFIG", "MCE_FULL", "MCE_HOME"}
_PLUGINS = "MCE_PLUGINS"


def from_environ(
    environ: Mapping[str, str], sections: Iterable[str], problems: list[str], warnings: list[str]
) -> list[tuple[Key, Setting]]:
    """Return what the variables set; an empty one is one that is not set.

    Args:
        sections: plugins that have sections in files; ``MCE_PLUGINS__STATE_DICT__X`` means ``[plugins.state-dict]``.
        problems: gets a sentence where two variables disagree about a setting.
        warnings: gets one for each variable that sets nothing and looks as if it should.
    """
    found: dict[Key, Setting] = {}
    spelled = {in_a_variable(name).upper(): name for name in sections}
    for variable in sorted(name for name in environ if name.startswith("MCE_") and environ[name]):
        key = _key(variable, spelled)
        if key is None:
            if complaint := _complaint(variable):
                warnings.append(f"{variable} {complaint}")
            continue
        before = found.setdefault(key, Setting(environ[variable], "environment", variable))
        if before.value != environ[variable]:
            problems.append(f"{before.where} and {variable} disagree: set one of them")
    return list(found.items())


def _key(variable: str, spelled: Mapping[str, str]) -> Key | None:
    by_variable = {each.variable: key for key, each in known().items()}
    if variable in by_variable:
        return by_variable[variable]
    parts = variable.removeprefix("MCE_").split("__")
    if parts[0] == PLUGINS.upper() and len(parts) > 2 and all(parts):
        return (PLUGINS, spelled.get(parts[1], parts[1].lower()), *(part.lower() for part in parts[2:]))
    key = tuple(part.lower() for part in parts)
    return key if key in known() else None


def _complaint(variable: str) -> str | None:
    if variable == _PLUGINS:
        return "is ignored: a setting of one plugin is MCE_PLUGINS__NAME__KEY"
    if variable.startswith(f"{_PLUGINS}_"):
        return "is ignored: write MCE_PLUGINS__NAME__KEY, with two underscores each time"
    if variable in _OTHERS:
        return None
    near = get_close_matches(variable, [each.variable for each in known().values()], n=1, cutoff=0.8)
    if near:
        return f"is not known and ignored; did you mean {near[0]}?"
    return "is not known and ignored" if "__" in variable else None
