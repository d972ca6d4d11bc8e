"""Runs every benchmark and writes docs/benchmarks.md from what they measured.

./dev bench all            all of them, as long as they take
./dev bench all imports    the named ones; the rows of the others stay as they are
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "docs/benchmarks.md"
MARK = "<!-- {name} -->"
HEAD = """# Benchmarks

Each row is measured in one run: ours, the peer and the floor in turn, at least seven rounds; medians, and the ratio of
each round's pair. `./dev bench NAME` repeats one, `./dev bench NAME --quick` in under a minute, and `./dev bench all`
writes this page. A bar is what we promise; a row that misses it says so.
"""


def areas() -> list[str]:
    """Return the names of the benchmarks there are."""
    return sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))


def measure(name: str, quick: bool) -> list[dict[str, Any]]:
    """Run one benchmark and return its rows. Exits where it could not measure."""
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder, "rows.json")
        command = [sys.executable, str(HERE / f"bench_{name}.py"), "--json", str(rows), *(["--quick"] if quick else [])]
        if subprocess.run(command).returncode:
            sys.exit(f"{name} could not be measured: the page is left as it is")
        found: list[dict[str, Any]] = json.loads(rows.read_text("utf-8"))
        return found


def section(name: str, rows: Iterable[dict[str, Any]]) -> str:
    """Return the part of the page about one benchmark, with the machine that it was measured on."""
    lines = [
        MARK.format(name=name), f"## {name.capitalize()}", "",
        f"`./dev bench {name}` on {machine()}, {datetime.now(UTC):%Y-%m-%d}.", "",
        "| measure | ours | peer | its value | ratio | floor | bar | holds |", "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for row in rows:
        holds = {True: "yes", False: "**no**", None: ""}[row["holds"]]
        cells = [
            row["measure"], _with_unit(row["ours"], row["unit"]),
            row["peer"], _with_unit(row["peer_value"], row["unit"]),
            _number(row["ratio"]), _with_unit(row["floor"], row["unit"]), _number(row["bar"]), holds,
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def machine() -> str:
    """Return what matters of this machine, in words."""
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor() or platform.machine(),
    )
    return f"{os.cpu_count()} cores of {model}, {platform.system()}, Python {platform.python_version()}"


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text("utf-8").splitlines()
    except OSError:
        return []


def _with_unit(value: float | None, unit: str) -> str:
    return "" if value is None else f"{_number(value)} {unit}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def sections_of(page: str) -> dict[str, str]:
    """Return the parts of the page by name."""
    parts = page.split("<!-- ")[1:]
    return {part.partition(" -->")[0]: "<!-- " + part for part in parts}


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*areas(), []], default=[])
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    known = sections_of(PAGE.read_text("utf-8")) if PAGE.exists() else {}
    for name in options.names or areas():
        known[name] = section(name, measure(name, options.quick))
    text = HEAD + "".join(f"\n{known[name].strip()}\n" for name in areas() if name in known)
    PAGE.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
