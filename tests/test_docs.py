"""The pages run as they are printed, and their links lead somewhere."""

from __future__ import annotations

import doctest
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCED = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
INLINE_CODE = re.compile(r"(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.DOTALL)
LINK = re.compile(r"\]\(\s*<?([^)\s>]+)>?[^)]*\)|^\s*\[[^\]]+\]:\s*<?([^\s>]+)", re.MULTILINE)
ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:|//|#", re.IGNORECASE)


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def dead_links(text: str, folder: Path) -> list[str]:
    """Return the relative links in Markdown `text` that name no file below or beside `folder`."""
    prose = INLINE_CODE.sub("code", FENCED.sub("", text))
    targets = [inline or reference for inline, reference in LINK.findall(prose)]
    files = [unquote(target.partition("#")[0]) for target in targets if not ELSEWHERE.match(target)]
    return [file for file in files if not (folder / file).exists()]


@pytest.fixture
def empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Stand in an empty directory, under default settings, and close the kernels that a page leaves open."""
    for variable in os.environ:
        if variable.startswith(("MCE_", "SLURM_", "TORCHELASTIC_")):
            monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        yield tmp_path
    from model_checkpoint.kernel import Kernel

    for kernel in Kernel.open_kernels():
        kernel.close()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_example_of_a_page_gives_what_the_page_says(page: Path, empty_directory: Path) -> None:
    examples = doctest.DocTestParser().get_doctest(page.read_text("utf-8"), {}, name_of(page), str(page), 0)
    differences: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    runner.run(examples, out=differences.append)

    assert not differences, "".join(differences)


def test_the_page_on_metrics_is_among_them_and_has_examples() -> None:
    page = ROOT / "docs/metrics.md"

    assert page in PAGES
    assert len(doctest.DocTestParser().get_examples(page.read_text("utf-8"))) > 10


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_relative_link_of_a_page_leads_to_a_file(page: Path) -> None:
    assert dead_links(page.read_text("utf-8"), page.parent) == []


def test_a_dead_link_is_found_wherever_it_stands(tmp_path: Path) -> None:
    (tmp_path / "here.md").touch()
    (tmp_path / "a b.md").touch()
    text = (
        "[ok](here.md) [ok](here.md#part) [ok](#part) [ok](https://example.org/x) [ok](a%20b.md) ![no](no.png)\n"
        "[`code`](gone.md) `[not](a-link.md)` [no](gone/too.md#part 'title')\n"
        "```python\nstats[0](not_a_link)\n```\n\n[ref]: lost.md\n[ok]: <here.md>\n"
    )

    assert dead_links(text, tmp_path) == ["no.png", "gone.md", "gone/too.md", "lost.md"]
