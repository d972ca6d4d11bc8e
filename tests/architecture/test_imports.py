"""Who may import whom, and what an import may cost.

The arrows themselves stand in pyproject.toml, under [tool.importlinter].
"""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KERNEL, BUILTIN = ROOT / "kernel/model_checkpoint", ROOT / "plugins_builtin/model_checkpoint"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PLUGIN_MODULES = sorted(PYPROJECT["project"]["entry-points"]["model_checkpoint.plugins"].values())
TOO_HEAVY = {"alembic", "asyncio", "dynaconf", "numpy", "pydantic", "sqlalchemy", "torch", "watchdog"}
TOO_HEAVY_FOR_A_PLUGIN = TOO_HEAVY | {"ddsketch", "lark", "pandas", "safetensors", "sklearn"}


def top_level_modules_after(statement: str) -> set[str]:
    """Return the top-level names in sys.modules of a fresh interpreter that ran `statement`."""
    program = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def imports_of(path: Path) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    """Yield (line, module, names imported from it) of every import in the file, wherever it stands."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            yield node.lineno, "." * node.level + (node.module or ""), tuple(alias.name for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, ()) for alias in node.names)


def exported_names(path: Path) -> set[str]:
    """Return what the file assigns to __all__."""
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    raise AssertionError(f"{path} assigns no __all__")


def folders(portion: Path) -> set[str]:
    return {path.name for path in portion.iterdir() if path.is_dir() and path.name != "__pycache__"}


def test_the_namespace_consists_of_the_two_portions_of_this_tree() -> None:
    import model_checkpoint

    assert {Path(folder).resolve() for folder in model_checkpoint.__path__} == {KERNEL, BUILTIN}


def test_every_import_follows_an_arrow_of_the_architecture() -> None:
    linted = subprocess.run(
        [sys.executable, "-c", "import sys, importlinter.cli as c; sys.exit(c.lint_imports(no_cache=True))"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )

    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_the_contracts_name_every_package_of_both_portions() -> None:
    contracts = {contract["name"]: contract for contract in PYPROJECT["tool"]["importlinter"]["contracts"]}

    def named(contract: str, key: str) -> set[str]:
        return {module.strip().removeprefix("model_checkpoint.") for module in contracts[contract][key]}

    layers = {
        name.strip().removeprefix("model_checkpoint.")
        for layer in contracts["the arrows of the kernel point downwards"]["layers"]
        for name in layer.split("|")
    }
    assert layers == folders(KERNEL)
    assert named("the kernel imports no plugin", "source_modules") == folders(KERNEL)
    assert named("the kernel imports no plugin", "forbidden_modules") == folders(BUILTIN)
    assert named("built-in plugins use what a stranger can use", "source_modules") == folders(BUILTIN)
    assert named("built-in plugins never import one another", "modules") == folders(BUILTIN)


def test_built_in_plugins_import_from_the_kernel_only_what_it_exports() -> None:
    exported = exported_names(KERNEL / "kernel/__init__.py")
    wrong = []
    for path in sorted(BUILTIN.rglob("*.py")):
        for line, module, names in imports_of(path):
            inside = module.startswith("model_checkpoint.kernel.")
            private = [name for name in names if name not in exported] if module == "model_checkpoint.kernel" else []
            if inside or private or (module == "model_checkpoint" and "kernel" in names):
                wrong.append(f"{path.relative_to(ROOT)}:{line}: {module} {' '.join(private)}")

    assert wrong == []


def test_relative_imports_are_not_used_because_the_linter_reads_whole_names() -> None:
    relative = [
        f"{path.relative_to(ROOT)}:{line}"
        for portion in (KERNEL, BUILTIN)
        for path in sorted(portion.rglob("*.py"))
        for line, module, _ in imports_of(path)
        if module.startswith(".")
    ]

    assert relative == []


@pytest.mark.parametrize("package", ["hooks", "kernel", "engine", "testing", "checkpoint.enhanced_manager"])
def test_importing_a_package_of_the_kernel_imports_nothing_heavy(package: str) -> None:
    assert top_level_modules_after(f"import model_checkpoint.{package}") & TOO_HEAVY == set()


def test_importing_the_conformance_kits_needs_no_pytest_until_one_is_used() -> None:
    assert "pytest" not in top_level_modules_after("import model_checkpoint.testing")


@pytest.mark.parametrize("module", PLUGIN_MODULES)
def test_importing_a_built_in_plugin_imports_nothing_heavy(module: str) -> None:
    assert top_level_modules_after(f"import {module}") & TOO_HEAVY_FOR_A_PLUGIN == set()


def test_every_entry_point_names_a_file_of_the_built_in_portion() -> None:
    stems = [BUILTIN / module.removeprefix("model_checkpoint.").replace(".", "/") for module in PLUGIN_MODULES]

    assert [
        str(stem) for stem in stems if not (stem.with_suffix(".py").exists() or (stem / "__init__.py").exists())
    ] == []
