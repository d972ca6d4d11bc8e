"""What happens to a vault until the power is cut, and what must be true of it ever after."""

from __future__ import annotations

import contextlib
import re
import runpy
import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

from model_checkpoint.common.fsops import FsOps
from model_checkpoint.errors import CheckpointNotFoundError, IntegrityError
from model_checkpoint.storage.vault import pack
from model_checkpoint.storage.vault.store import VaultStore

Disks = runpy.run_path(str(Path(__file__).with_name("crash_disk.py")))
Disk, RecordingFs, rebuild = Disks["Disk"], Disks["RecordingFs"], Disks["rebuild"]
Tidy = runpy.run_path(str(Path(__file__).with_name("tidy.py")))
made, reads, untidy = Tidy["made"], Tidy["reads"], Tidy["untidy"]

BEFORE = {"first": "ABC", "old": "CDEF", "keeps": "D", "changing": "AGH"}
"""What is in the store before, and of which tensors."""
VAULT = "vault"
INDEX = f"{VAULT}/index.sqlite"


@dataclass
class Play:
    """One disk, the processes that work on it, and what they are told."""

    disk: Any
    skip: Callable[[str, str], bool] = lambda call, before: False
    begun: int = 0
    """How many steps were made before what is to be watched."""
    indexes: list[bytes] = field(default_factory=list)
    """The index as it was at some moments."""
    stores: list[VaultStore] = field(default_factory=list)

    def store(self) -> VaultStore:
        """Start a process that works on the vault."""
        self.stores.append(VaultStore(self.disk.top / VAULT, RecordingFs(self.disk, self.skip)))
        return self.stores[-1]

    def do(self, verb: str, store: VaultStore, name: str, letters: str) -> None:
        """Write, forget or restore a checkpoint, and note what its user knows of that."""
        self.disk.say("begins", verb, name, letters)
        if verb == "write":
            store.write(made(name, letters))
        else:
            getattr(store, verb)(name)
        self.disk.say("done", verb, name, letters)

    def collect(self, store: VaultStore) -> None:
        """Collect: from now on nobody is promised that what was forgotten comes back."""
        self.disk.say("begins", "collect")
        store.collect()

    def end(self) -> None:
        """End all processes, and keep the index as they left it."""
        for store in self.stores:
            store.close()
        self.stores.clear()
        index = self.disk.top / INDEX
        if index.exists():
            self.indexes.append(index.read_bytes())


def before(play: Play, *forgotten: str) -> None:
    """Make the store that everything but the first save begins with."""
    store = play.store()
    for name, letters in BEFORE.items():
        play.do("write", store, name, letters)
    for name in forgotten:
        play.do("forget", store, name, BEFORE[name])


def saves(letters: str) -> Callable[[Play], None]:
    return lambda play: play.do("write", play.store(), "new", letters)


def forgets(play: Play) -> None:
    play.do("forget", play.store(), "changing", BEFORE["changing"])


def restores(play: Play) -> None:
    play.do("restore", play.store(), "changing", BEFORE["changing"])


def collects(play: Play) -> None:
    play.collect(play.store())


def has_twice(play: Play) -> None:
    """Have content in two packs, as two saves at once leave it."""
    before(play)
    store = play.store()
    store._catalog.may_hold = lambda xxh3, nbytes: False  # type: ignore[method-assign]
    play.do("write", store, "twin", "AZ")


def relies_on_a_new_pack(play: Play) -> None:
    """Save what another process has just given its name in ``packs/``, and not durably."""
    hasty, other = play.store(), play.store()
    hasty._fs.interrupt(  # type: ignore[attr-defined]
        lambda call: call == f"sync_dir {VAULT}/packs",
        lambda: play.do("write", other, "new", "XY"),
    )
    play.do("write", hasty, "newer", "XYZ")


def begins_in_new_folders(play: Play) -> None:
    """Save in a vault whose folder another process has just made, and not durably."""
    hasty, other = play.store(), play.store()
    hasty._fs.interrupt(lambda call: call == "sync_dir .", lambda: play.do("write", other, "new", "XY"))  # type: ignore[attr-defined]
    play.do("write", hasty, "newer", "XYZ")


def has_much_to_forget(play: Play) -> None:
    """Have a forgotten checkpoint, and another with a pack of its own."""
    before(play, "changing")
    play.do("write", play.store(), "brief", "X")


def collects_during_a_save(play: Play) -> None:
    """Collect a pack that a save relies on, which ends only later; take it back; collect another pack."""
    store, collector = play.store(), play.store()
    store._fs.interrupt(  # type: ignore[attr-defined]
        lambda call: re.fullmatch(rf"create {VAULT}/tmp/.*\.new\.json", call) is not None,
        lambda: play.collect(collector),
    )
    play.do("write", store, "new", "GH")
    play.collect(collector)
    play.do("forget", store, "brief", "X")
    play.collect(collector)


def saves_what_goes(play: Play) -> None:
    """Save the content of a pack that has just moved to trash."""
    collector, store = play.store(), play.store()
    collector._fs.interrupt(  # type: ignore[attr-defined]
        lambda call: re.match(rf"unlink {VAULT}/trash/[0-9a-f]", call) is not None,
        lambda: play.do("write", store, "new", "GHX"),
    )
    play.collect(collector)


def sets_aside(play: Play) -> None:
    """Read a checkpoint of which one tensor is damaged: its pack moves, and others need what else is in it."""
    store = play.store()
    with contextlib.suppress(IntegrityError):
        store.read("first")


def damages(play: Play) -> None:
    """Have a disk that has damaged tensor A."""
    before(play)
    (path, *_) = sorted((play.disk.top / VAULT / "packs").iterdir())
    content, sound = bytearray(path.read_bytes()), bytes(made("", "A").buffers[0].data)
    content[content.index(sound)] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    number = play.disk.node(path)
    play.disk.changed("damage", path, number, bytes(content))
    play.disk.changed("damage", path, number, None)
    play.disk.say("done", "damage", "first", BEFORE["first"])
    play.disk.say("done", "damage", "changing", BEFORE["changing"])


def has_set_aside(play: Play) -> None:
    """Have a damaged pack in ``quarantine/``, and a forgotten checkpoint that needs what is damaged."""
    damages(play)
    sets_aside(play)
    play.do("forget", play.store(), "changing", BEFORE["changing"])


def restores_from_a_new_pack(play: Play) -> None:
    """Restore what needs a tensor that another process has just stored anew, and whose pack's name is not durable."""
    hasty, other = play.store(), play.store()
    hasty._fs.interrupt(  # type: ignore[attr-defined]
        lambda call: call == f"sync_dir {VAULT}/packs",
        lambda: play.do("restore", other, "changing", BEFORE["changing"]),
    )
    play.do("write", hasty, "newer", "AXY")


def nothing(play: Play) -> None:
    """Begin with no store at all."""


SCENARIOS: dict[str, tuple[Callable[[Play], None], Callable[[Play], None]]] = {
    "first save": (nothing, saves("ABC")),
    "first save in a folder of another": (nothing, begins_in_new_folders),
    "save of new content": (before, saves("XYZ")),
    "save of partly known content": (before, saves("ADXY")),
    "save of known content": (before, saves("ADH")),
    "save that relies on a new pack": (before, relies_on_a_new_pack),
    "forget": (before, forgets),
    "restore": (lambda play: before(play, "changing"), restores),
    "collect an unneeded pack": (lambda play: before(play, "changing"), collects),
    "collect and rewrite a pack": (lambda play: before(play, "changing", "old"), collects),
    "collect what is there twice": (has_twice, collects),
    "collect during a save": (has_much_to_forget, collects_during_a_save),
    "save what is being collected": (lambda play: before(play, "changing"), saves_what_goes),
    "set a damaged pack aside": (damages, sets_aside),
    "restore that relies on a new pack": (has_set_aside, restores_from_a_new_pack),
}


@contextlib.contextmanager
def steady_names() -> Iterator[None]:
    """Let every process draw the same ids and see the same clock in every run."""
    chosen, ticks = Random(1), count(1_000_000)
    with (
        mock.patch.object(secrets, "token_hex", lambda nbytes: chosen.randbytes(nbytes).hex()),
        mock.patch.object(pack.os, "urandom", chosen.randbytes),
        mock.patch.object(pack, "now_s", side_effect=ticks),
    ):
        yield


def record(scenario: str, folder: Path, *, pause: bool, skip: Callable[[str, str], bool] | None = None) -> Play:
    """Act one scenario out in an empty folder. With `pause`, all that was done before it is durable."""
    prepare, act = SCENARIOS[scenario]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    play = Play(Disk(folder))
    with steady_names():
        prepare(play)
        play.end()
        if pause:
            play.disk.pause()
        play.begun = len(play.disk.steps)
        if skip is not None:
            play.skip = skip
        act(play)
        play.disk.say("the power is cut")
        steps = [*play.disk.steps]
        play.end()
    play.disk.steps = steps
    return play


def promised(said: tuple[tuple[str, ...], ...]) -> dict[str, tuple[str, str]]:
    """Return the checkpoints that anybody heard of: letters, and whether each is there, gone, either or damaged."""
    found, damaged = {}, set[str]()
    for what in said:
        if len(what) == 4:
            stage, verb, name, letters = what
            damaged |= {name} if verb == "damage" else set()
            begun = "damaged" if name in damaged else "either"
            done = {"write": "there", "restore": "there", "forget": "gone", "damage": "damaged"}[verb]
            found[name] = (letters, done if stage == "done" else begun)
    return found


def check(root: Path, said: tuple[tuple[str, ...], ...], *, strict: bool) -> None:
    """See with a fresh store that every promise is kept, and that work goes on. Raises AssertionError or an error.

    Where this is `strict`, what was forgotten must come back as well, unless a collection has begun since; and one
    collection must be enough to have everything tidy. Else it takes two.
    """
    checkpoints = promised(said)
    store = VaultStore(root, FsOps())
    present = set(store.list_ids())
    assert present <= checkpoints.keys(), "a checkpoint that nobody ever wrote"
    for name, (letters, state) in checkpoints.items():
        if state == "damaged":
            continue
        assert state == "either" or (name in present) == (state == "there"), f"{name} should be {state}"
        if name in present:
            assert reads(store, name, letters), f"{name} reads otherwise"
            assert store.verify(name, depth="full").ok
        else:
            try:
                store.read(name)
            except CheckpointNotFoundError:
                continue
            raise AssertionError(f"{name} is not listed and reads")
    for name, (letters, state) in checkpoints.items():
        if state == "damaged" and name in present:
            with contextlib.suppress(IntegrityError):  # found now, if not before
                assert reads(store, name, letters), f"{name} reads otherwise"
    go_on(store, root, said, present, strict=strict)


def go_on(store: VaultStore, root: Path, said: tuple[tuple[str, ...], ...], present: set[str], *, strict: bool) -> None:
    """Restore or write again what is not there, write more, collect, and see that all is there and tidy."""
    checkpoints, is_damaged = promised(said), any("damage" in what for what in said)
    for name in sorted(checkpoints.keys() - present):
        if name in BEFORE and strict and not is_damaged and ("begins", "collect") not in said:
            store.restore(name)
        else:
            store.write(made(name, checkpoints[name][0]))
    store.write(made("after", "AXGZ"))
    for _ in range(1 if strict else 2):
        store.collect()
    for name, (letters, _) in {**checkpoints, "after": ("AXGZ", "there")}.items():
        assert reads(store, name, letters), f"{name} reads otherwise after a collection"
    store.close()
    excused = ("quarantine/", "in no pack") if is_damaged else ()  # sound tensors stay readable beside damaged ones
    problems = [problem for problem in untidy(root) if not any(words in problem for words in excused)]
    problems += [f"tmp/{path.name} is left" for path in (root / "tmp").iterdir() if path.name != "claims"]
    assert not problems, ", ".join(problems)
