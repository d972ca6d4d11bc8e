"""What finding, ordering and waiting for plugins costs.

Finding is measured over 300 distributions, made for the purpose, 40 of which have a plugin, beside the bare list of the
standard library, which names no version. Both look at the disk at every call.
"""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import entry_points as bare_entry_points
from pathlib import Path
from platform import python_version

from harness import CannotMeasure, Comparison, main, seconds
from model_checkpoint.plugins import requirements
from model_checkpoint.plugins.metadata import entry_points
from model_checkpoint.plugins.resolution import Candidate, resolve

GROUP = "bench.plugins"
DISTRIBUTIONS, PLUGINS = 300, 40
BAR_RATIO, BAR_RESOLVE_MS = 2.0, 10.0
BAR_PREPARE_MS, BAR_OPEN_MS = 100.0, 400.0


def install(folder: Path) -> None:
    """Make the metadata of all distributions, as pip would have left it: most have no entry points, some others'."""
    for number in range(DISTRIBUTIONS):
        info = folder / f"dist_{number}-1.{number}.dist-info"
        info.mkdir()
        needed = "".join(f"Requires-Dist: dist-{other}>=1\n" for other in range(number % 7))
        described = "A line of its description.\n" * 100
        text = f"Metadata-Version: 2.4\nName: dist-{number}\nVersion: 1.{number}\n{needed}\n{described}"
        (info / "METADATA").write_text(text, "utf-8")
        if number < PLUGINS:
            (info / "entry_points.txt").write_text(f"[{GROUP}]\np{number} = dist_{number}.plugin\n", "utf-8")
        elif number % 3 == 0:
            (info / "entry_points.txt").write_text(f"[console_scripts]\nd{number} = dist_{number}:main\n", "utf-8")


@contextmanager
def on_path(folder: Path) -> Iterator[None]:
    """Let `folder` be all that is installed."""
    before = sys.path[:]
    sys.path[:] = [str(folder)]
    try:
        yield
    finally:
        sys.path[:] = before


def finding(folder: Path) -> Comparison:
    """Compare our list of entry points, with names and versions, with the bare one."""

    def ours() -> float:
        with on_path(folder):
            found: list[object] = []
            taken = seconds(lambda: found.extend(entry_points(GROUP)))
        return checked(found, taken)

    def bare() -> float:
        with on_path(folder):
            found: list[object] = []
            taken = seconds(lambda: found.extend(bare_entry_points(group=GROUP)))
        return checked(found, taken)

    def checked(found: list[object], taken: float) -> float:
        if len(found) != PLUGINS:
            raise CannotMeasure(f"{len(found)} entry points were found, and {PLUGINS} are there")
        return taken * 1000

    return Comparison(
        measure=f"finding {PLUGINS} plugins among {DISTRIBUTIONS} distributions",
        unit="ms",
        ours=ours,
        peer=f"importlib.metadata.entry_points of Python {python_version()}",
        peer_measurement=bare,
        bar=BAR_RATIO,
    )


def sixty_plugins() -> list[Candidate]:
    """Return plugins that require, want and provide as much as anybody would, and some that cannot be loaded."""
    names = [f"p{number:02}" for number in range(60)]
    return [
        Candidate(
            name,
            version="1.5.2",
            builtin=number < 12,
            distribution=f"mce-{name}",
            provides=(f"storage:{name}", "cadence:shared") if number in (20, 40) else (f"storage:{name}",),
            requires=(*(f"{other}>=1.2,<2" for other in names[:number][-2:]), f"storage:{names[number // 2]}"),
            optional=(f"{names[number - 5]}>=1", "not-there"),
            after=(names[(number * 7) % 60],),
            conflicts=("p50>=2", *(["p44"] if number == 30 else [])),
        )
        for number, name in enumerate(names)
    ]


def resolving() -> Comparison:
    """Compare the time of resolving 60 plugins with what it may take."""
    candidates = sixty_plugins()

    def ours() -> float:
        for cache in (requirements._specifiers, requirements._version):
            cache.cache_clear()  # as it is when a kernel opens
        return seconds(lambda: resolve(candidates)) * 1000

    return Comparison(
        measure="resolving 60 plugins, with reading what they require",
        unit="ms",
        ours=ours,
        peer=f"the {BAR_RESOLVE_MS:g} ms that it may take",
        peer_measurement=lambda: BAR_RESOLVE_MS,
        bar=1.0,
    )


def install_waiting(folder: Path) -> None:
    """Install 40 plugins that wait, each in a package of its own that must not be imported."""
    for number in range(PLUGINS):
        package, info = folder / f"mce_wait_{number}", folder / f"mce_wait_{number}-1.0.dist-info"
        package.mkdir(parents=True)
        info.mkdir()
        (package / "__init__.py").write_text("raise SystemError('imported')\n", "utf-8")
        (package / "plugin.toml").write_text(
            f'[plugin.wait-{number}]\nprovides = ["storage:wait-{number}"]\nhooks = ["on_run_end"]\n', "utf-8"
        )
        (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: mce-wait-{number}\nVersion: 1.0\n", "utf-8")
        (info / "entry_points.txt").write_text(
            f"[model_checkpoint.plugins]\nwait-{number} = mce_wait_{number}:Plugin\n", "utf-8"
        )


PREPARE = "Kernel.prepare(quiet=True)"
OPEN = 'Kernel.open("sqlite:///e.db", quiet=True)'
START = """
import sys, time
sys.path.append(sys.argv[1])
from model_checkpoint.kernel import Kernel
started = time.perf_counter()
kernel = {how}
taken = time.perf_counter() - started
states = [info.state for info in kernel.plugins.list() if info.name.startswith("wait-")]
assert len(states) == 40 and set(states) == {{"registered"}}, states
print(taken * 1000)
"""


def starting(folder: Path) -> Sequence[Comparison]:
    """Compare the first start of a kernel in a process, with 40 waiting plugins, with what it may take."""
    waiting, bare, full = folder / "waiting", folder / "bare", folder / "full"
    install_waiting(waiting)
    bare.mkdir()
    full.mkdir()
    (full / "mce.toml").write_text('[storage]\nverify = "full"\n[production.storage]\nverify = "fast"\n', "utf-8")

    def start(how: str, cwd: Path) -> float:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("MCE_")}
        command = [sys.executable, "-c", START.format(how=how), str(waiting)]
        done = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True)
        if done.returncode:
            raise CannotMeasure(done.stderr)
        return float(done.stdout)

    def row(measure: str, how: str, cwd: Path, bar_ms: float) -> Comparison:
        return Comparison(
            measure=measure,
            unit="ms",
            ours=lambda: start(how, cwd),
            peer=f"the {bar_ms:g} ms that it may take",
            peer_measurement=lambda: bar_ms,
            bar=1.0,
        )

    return [
        row("start of a kernel with 40 waiting plugins, no settings and no store", PREPARE, bare, BAR_PREPARE_MS),
        row("start of a kernel with 40 waiting plugins, settings and a database", OPEN, full, BAR_OPEN_MS),
    ]


def describe(quick: bool) -> Sequence[Comparison]:
    """Return the comparisons; there is no smaller size."""
    folder = Path(tempfile.mkdtemp(prefix="bench-plugins-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    install(folder)
    return [finding(folder), resolving(), *starting(folder)]


if __name__ == "__main__":
    sys.exit(main(__doc__, describe))
