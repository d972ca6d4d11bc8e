"""What every file of the project keeps to: sizes, namespace, types, docstrings, and a few things that never land."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PORTIONS = (ROOT / "kernel", ROOT / "plugins_builtin")
KERNEL_BUDGET_LOC = 11_500
"""A third of it is declarations: 64 events, the contracts, the tree of errors."""
FILE_BUDGET_LINES = 400
NOT_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}


def sources(*folders: Path) -> list[Path]:
    return sorted(path for folder in folders for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def in_repository(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def docstrings(tree: ast.Module) -> Iterator[ast.Expr]:
    """Yield every string that stands alone: docstrings of modules, classes and functions, and those under a field."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node


def lines_of_code(text: str) -> int:
    """Count the lines that hold code: no blanks, no comments, no docstrings."""
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in NOT_CODE:
            code.update(range(token.start[0], token.end[0] + 1))
    for docstring in docstrings(ast.parse(text)):
        code.difference_update(range(docstring.lineno, (docstring.end_lineno or docstring.lineno) + 1))
    return len(code)


def swallows_everything(handler: ast.ExceptHandler) -> bool:
    """Say whether the handler catches every exception and does nothing."""
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    broad = any(kind is None or getattr(kind, "id", "") in ("Exception", "BaseException") for kind in caught)
    nothing = all(
        isinstance(step, ast.Pass | ast.Continue)
        or (isinstance(step, ast.Expr) and isinstance(step.value, ast.Constant))
        for step in handler.body
    )
    return broad and nothing


def test_lines_of_code_are_counted_without_blanks_comments_and_docstrings() -> None:
    code = ["x = [  # trailing", "    1,", "]", "def f():", '    return """a', 'b"""']
    text = "\n".join(['"""Module.', "", 'More."""', "# why", "", *code[:4], '    """Doc."""', *code[4:], ""])

    assert lines_of_code(text) == len(code)


def test_the_kernel_stays_within_its_budget_of_code() -> None:
    kernel = ROOT / "kernel/model_checkpoint"
    counted = {path: lines_of_code(path.read_text("utf-8")) for path in sources(kernel) if "testing" not in path.parts}

    assert sum(counted.values()) <= KERNEL_BUDGET_LOC, {in_repository(path): n for path, n in counted.items()}


def test_no_file_is_longer_than_its_budget() -> None:
    paths = [*sources(*PORTIONS, ROOT / "tests", ROOT / "docs"), ROOT / "dev"]
    lengths = {in_repository(path): len(path.read_text("utf-8").splitlines()) for path in paths}

    assert {path: lines for path, lines in lengths.items() if lines > FILE_BUDGET_LINES} == {}


@pytest.mark.parametrize("portion", [portion.name for portion in PORTIONS])
def test_no_init_file_hides_the_other_portion_of_the_namespace(portion: str) -> None:
    assert not (ROOT / portion / "__init__.py").exists()
    assert not (ROOT / portion / "model_checkpoint/__init__.py").exists()
    assert not (ROOT / portion / "model_checkpoint/py.typed").exists()


def test_every_package_is_a_package_and_says_that_it_is_typed() -> None:
    packages = [path for portion in PORTIONS for path in (portion / "model_checkpoint").iterdir()]
    folders = [path for path in packages if path.is_dir() and path.name != "__pycache__"]

    lacking = [
        f"{in_repository(folder)}/{name}"
        for folder in sorted(folders)
        for name in ("__init__.py", "py.typed")
        if not (folder / name).exists()
    ]
    assert lacking == []


def test_no_package_has_its_name_in_both_portions() -> None:
    kernel, builtin = ({path.name for path in (portion / "model_checkpoint").iterdir()} for portion in PORTIONS)

    assert kernel & builtin - {"__pycache__"} == set()


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        in_repository(path)
        for path in [*sources(*PORTIONS), ROOT / "dev"]
        if not ast.get_docstring(ast.parse(path.read_text("utf-8")))
    ]

    assert silent == []


def test_every_public_class_and_function_says_what_it_does() -> None:
    silent = []
    for path in sources(*PORTIONS):
        for node in ast.parse(path.read_text("utf-8")).body:
            named = isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            if named and not node.name.startswith("_") and not ast.get_docstring(node):
                silent.append(f"{in_repository(path)}:{node.lineno}: {node.name}")

    assert silent == []


def test_no_handler_swallows_every_exception() -> None:
    wrong = [
        f"{in_repository(path)}:{node.lineno}"
        for path in [*sources(*PORTIONS, ROOT / "docs"), ROOT / "dev"]
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ExceptHandler) and swallows_everything(node)
    ]

    assert wrong == []


def test_nothing_is_left_to_do_in_a_comment() -> None:
    marker = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    left = [
        f"{in_repository(path)}:{number}"
        for path in [*sources(*PORTIONS, ROOT / "docs"), ROOT / "dev"]
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1)
        if marker.search(line)
    ]

    assert left == []


def test_no_module_is_a_drawer_for_odds_and_ends() -> None:
    drawers = {"utils", "util", "helpers", "helper", "misc"}

    assert [in_repository(path) for path in sources(*PORTIONS, ROOT / "tests") if path.stem in drawers] == []
