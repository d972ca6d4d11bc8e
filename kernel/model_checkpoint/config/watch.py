"""Notices that a configuration file changed: its directory stirs, then is quiet, and then the contents are others.

A directory is watched, not a file: editors put a new file in its place, and a Kubernetes ConfigMap is swapped by a
link, ``..data``, without the file being named. So the directory and the name of every link on the way are watched::

    /etc/mce/mce.toml -> ..data/mce.toml         watched: /etc/mce (mce.toml, ..data)
    /etc/mce/..data   -> ..2026_01/                       /etc/mce/..2026_01 (mce.toml)
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_checkpoint.config.files import combined, digests_of

if TYPE_CHECKING:
    from watchdog.events import FileSystemEvent

log = logging.getLogger(__name__)

DEBOUNCE_S = 0.2
LONGEST_WAIT_S = 2.0
"""Seconds after which the contents are looked at even where their directory never falls quiet."""
_LINKS = 40
_IGNORED = {"opened", "closed_no_write"}
_JOIN_S = 5.0


class ConfigWatcher:
    """Calls `changed`, on a thread of its own, when what the files say is no longer what they said before.

    Args:
        paths: the files, those too that are not there yet; their directories must be.
        changed: whatever it raises is logged.
        digest: of the contents that are in force; None takes those at the start.
        debounce_s: seconds for which the directory must be quiet.
    """

    def __init__(
        self,
        paths: Iterable[Path],
        changed: Callable[[], object],
        *,
        digest: str | None = None,
        debounce_s: float = DEBOUNCE_S,
    ) -> None:
        self._paths, self._changed, self._debounce_s = tuple(paths), changed, debounce_s
        self._seen = digest
        self._stirred, self._stopping = threading.Event(), threading.Event()
        self._names: dict[str, set[str]] = {}
        self._lost: set[str] = set()
        self._watches: dict[str, tuple[Any, tuple[int, int]]] = {}
        self._observer: Any = None
        self._worker: threading.Thread | None = None
        self._process = -1

    def start(self) -> bool:
        """Begin to watch; return whether that is possible. Where it is not, a warning says why."""
        from watchdog.observers import Observer

        self._process = os.getpid()
        if (theirs := logging.getLogger("watchdog")).level == logging.NOTSET:
            theirs.setLevel(logging.WARNING)  # at DEBUG it has a line for each of SQLite's writes beside the files
        self._observer = Observer()
        self._seen = self._seen or combined(digests_of(self._paths))
        try:
            self._observer.start()
            self._watch_directories()
        except (OSError, RuntimeError) as error:
            log.warning(
                "changes of the configuration files are not noticed: %s. They are taken over at the next start, or by"
                " a reload. On Linux, sysctl fs.inotify.max_user_instances and max_user_watches raise the limits",
                error,
            )
            self.stop()
            return False
        self._worker = threading.Thread(target=self._work, name="mce-config-watch", daemon=True)
        self._stirred.set()  # what happened between reading and watching is noticed, too
        self._worker.start()
        return True

    def stop(self) -> None:
        """End it; no thread is left. In a forked child, which has no such threads, this does nothing."""
        if self._process != os.getpid():
            return
        self._stopping.set()
        self._stirred.set()
        observer, self._observer = self._observer, None
        worker, self._worker = self._worker, None
        if worker is not None and worker is not threading.current_thread():
            worker.join(_JOIN_S)
        if observer is not None:
            observer.unschedule_all()
            if observer.is_alive():
                observer.stop()
                observer.join(_JOIN_S)

    def dispatch(self, event: FileSystemEvent) -> None:
        """Take an event from watchdog."""
        if event.event_type in _IGNORED or (event.is_directory and event.event_type == "modified"):
            return
        for path in (event.src_path, event.dest_path):
            directory, name = os.path.split(os.fsdecode(path))
            if os.fsdecode(path) in self._names:  # the directory itself is gone; a new one may have its inode, too
                self._lost.add(os.fsdecode(path))
                self._stirred.set()
            elif name in self._names.get(directory, ()):
                self._stirred.set()

    def _work(self) -> None:
        while self._stirred.wait() and not self._stopping.is_set():
            waited = 0.0
            while self._stirred.is_set() and waited < LONGEST_WAIT_S:
                self._stirred.clear()
                if self._stopping.wait(self._debounce_s):
                    return
                waited += self._debounce_s
            self._stirred.clear()
            try:
                self._watch_directories()
            except (OSError, RuntimeError) as error:
                log.warning("a directory of the configuration files is no longer watched: %s", error)
            self._look()

    def _look(self) -> None:
        now = combined(digests_of(self._paths))
        if now == self._seen:
            return
        self._seen = now
        try:
            self._changed()
        except Exception as error:
            log.warning("the changed configuration was not taken over: %s", error)

    def _watch_directories(self) -> None:
        """Watch every directory that matters now, and no other."""
        names: dict[str, set[str]] = {}
        for path in self._paths:
            for directory, name in hops(path):
                names.setdefault(directory, set()).add(name)
        there = {each: identity for each in names if (identity := _identity(each))}
        self._names = names
        observer = self._observer
        if observer is None:
            return
        lost, self._lost = self._lost, set()
        for directory, (watch, identity) in list(self._watches.items()):
            if directory in lost or there.get(directory) != identity:  # gone, or another one of the same name
                del self._watches[directory]
                observer.unschedule(watch)
        for directory, identity in there.items():
            if directory not in self._watches:
                self._watches[directory] = (observer.schedule(self, directory), identity)


def hops(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (directory, name) of every link on the way to a file, and of the file itself."""
    absolute = path.absolute()
    here, rest, links = absolute.anchor, deque(absolute.parts[1:]), 0
    while rest:
        name = rest.popleft()
        full = os.path.join(here, name)
        if name == "..":
            here = os.path.dirname(here)
        elif os.path.islink(full) and links < _LINKS:
            links += 1
            yield here, name
            target = Path(os.readlink(full))
            rest.extendleft(reversed(target.parts[1:] if target.is_absolute() else target.parts))
            here = target.anchor if target.is_absolute() else here
        elif rest:
            here = full
        else:
            yield here, name


def _identity(directory: str) -> tuple[int, int] | None:
    try:
        found = os.stat(directory)
    except OSError:
        return None
    return found.st_dev, found.st_ino
