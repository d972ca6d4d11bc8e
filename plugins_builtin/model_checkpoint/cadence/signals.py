"""Signals, heard at once, while the main thread is inside one long operation of torch too.

A handler in Python waits until the main thread is back in Python. What does not wait is C's half of it, which writes
the signal's number to a file descriptor::

    kernel -> C handler -> wakeup fd ==> [thread] on_signal(signum, deadline_s)      at once
                       \\-> flag -> [main thread, back in Python] _in_python           later: calls the former handler

A second signal of the same kind means what it meant before anybody watched. Where that was the default, it is put back
in C by the first one, so that the second needs neither thread nor interpreter.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

from model_checkpoint.errors import ConfigurationError, KernelError

_log = logging.getLogger("model_checkpoint")
_MARK = 0x80
"""Set in the byte by which the main thread says that it came to the handler; C's bytes are signal numbers, below."""
_RESET = 0x40
"""Set in the byte by which it says that the next signal is a first one."""
_JOIN_S = 1.0
_watches: list[SignalWatch] = []


class SignalWatch:
    """Calls ``on_signal(signum, deadline_s)`` on a thread of its own at the first signal of each kind.

    `deadline_s` is the time on `clock` at which the process must expect to be killed, `grace_s` after the signal. A
    signal that the process ignores, or whose handler is none of Python's, is left alone. A former handler of the
    script's is called as it would have been; Python's own for Ctrl-C only by a second one. Forked children have the
    former handlers, and nothing of this reaches them.

    Made in the main thread. Raises ``KernelError`` elsewhere.
    """

    def __init__(
        self,
        names: Iterable[str],
        on_signal: Callable[[int, float], object],
        *,
        grace_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not _in_main_thread():
            raise KernelError(
                f"signals are watched from the main thread, and this is {threading.current_thread().name!r}: begin the"
                " training there, or leave on-signal out"
            )
        numbers = [_number(name) for name in names]
        self._on_signal, self._grace_s, self._clock = on_signal, grace_s, clock
        self._pid, self._closed = os.getpid(), False
        self._former: dict[int, Any] = {}
        self._seen: Counter[int] = Counter()
        self._bytes: Counter[int] = Counter()
        self._marks: Counter[int] = Counter()
        self._calls: Counter[int] = Counter()
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)  # C refuses one that could block
        self._thread = threading.Thread(target=self._listen, name="mce-signals", daemon=True)
        self._thread.start()
        self._former_fd = _Descriptor(signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False))
        _watch_forks(self)
        for signum in numbers:
            former = signal.getsignal(signum)
            if former in (signal.SIG_IGN, None):
                _log.info("%s is ignored or handled outside Python: it is left alone", signal.Signals(signum).name)
                continue
            self._former[signum] = former
            signal.signal(signum, self._in_python)

    @property
    def watched(self) -> tuple[str, ...]:
        """The names of the signals that are watched."""
        return tuple(signal.Signals(signum).name for signum in self._former)

    def rearm(self, signum: int) -> None:
        """Let the next signal of this kind be a first one again. In the main thread; elsewhere nothing happens."""
        if not self._closed and signum in self._former and _in_main_thread():
            self._calls[signum] = 0
            with contextlib.suppress(OSError):
                self._writer.send(bytes([signum | _RESET]))  # after what is on its way to the thread
            if signal.getsignal(signum) == self._in_python:
                signal.signal(signum, self._in_python)

    def close(self) -> None:
        """Put the former handlers back, where nobody has put others meanwhile. Closing twice does nothing.

        From another thread than the main one the handlers stay, and do nothing but call the former ones.
        """
        if self._closed or os.getpid() != self._pid:
            return
        self._closed = True
        with contextlib.suppress(OSError):
            self._writer.send(b"\0")  # no signal: the thread ends
        if not _in_main_thread():
            _log.warning("signal handlers are put back in the main thread only: ours stay, and call the former ones")
            return
        self._put_back()
        self._thread.join(_JOIN_S)
        if not self._thread.is_alive():  # else it is in the midst of on_signal, and ends after it
            self._writer.close()
            self._reader.close()

    def _put_back(self) -> None:
        """Undo what was installed; for the main thread, of a forked child too."""
        own_fd, in_parent = self._writer.fileno(), os.getpid() == self._pid
        found_fd = signal.set_wakeup_fd(self._former_fd.number if in_parent and self._former_fd.is_there else -1)
        if in_parent and found_fd != own_fd:  # somebody else's by now
            signal.set_wakeup_fd(found_fd)
        for other in _watches:  # one that was made after this one goes on without it
            if other._former_fd.number == own_fd:
                other._former_fd = self._former_fd
            for signum, former in self._former.items():
                if other._former.get(signum) == self._in_python:
                    other._former[signum] = former
        for signum, former in self._former.items():
            if signal.getsignal(signum) == self._in_python:
                signal.signal(signum, former)
        _watches.remove(self)

    def _in_python(self, signum: int, frame: FrameType | None) -> None:
        """Stand in the main thread, once it is back in Python, where the former handler stood."""
        former = self._former[signum]
        self._calls[signum] += 1
        again = self._closed or self._calls[signum] > 1 or self._seen[signum] > 1
        if not self._closed:
            with contextlib.suppress(OSError):  # for the case that somebody else took the wakeup fd
                self._writer.send(bytes([signum | _MARK]))
        if callable(former) and (again or former is not signal.default_int_handler):
            former(signum, frame)
        elif former == signal.SIG_DFL and self._closed:
            _by_default(signum)

    def _listen(self) -> None:
        while (byte := self._reader.recv(1)) not in (b"", b"\0"):
            signum = byte[0] & ~(_MARK | _RESET)
            if byte[0] & _RESET:
                self._seen[signum] = self._bytes[signum] = self._marks[signum] = 0
                continue
            if byte[0] & _MARK:
                self._marks[signum] += 1
            else:
                self._bytes[signum] += 1
                self._former_fd.write(byte)
            # C writes a byte for each signal; where another has taken the descriptor, there are only the marks
            if signum in self._former and self._seen[signum] < max(self._bytes[signum], self._marks[signum]):
                self._arrived(signum)

    def _arrived(self, signum: int) -> None:
        self._seen[signum] += 1
        by_default = self._former[signum] == signal.SIG_DFL
        if self._seen[signum] > 1:
            if by_default:  # it came before the first one was dealt with
                _by_default(signum)
            return
        if by_default:
            _default_in_c(signum)
        deadline_s = self._clock() + self._grace_s
        try:
            self._on_signal(signum, deadline_s)
        except Exception as error:  # the thread must hear the next signal
            _log.exception("%s came, and what was to be done then failed: %s", signal.Signals(signum).name, error)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _number(name: str) -> int:
    found = getattr(signal, name, None)
    if not isinstance(found, signal.Signals):
        raise ConfigurationError(f"this system has no signal {name!r}")
    return int(found)


def _default_in_c(signum: int) -> None:
    """Let `signum` do what it does by default; ``signal.signal`` would refuse that outside the main thread."""
    libc = ctypes.CDLL(None)
    libc.signal.argtypes, libc.signal.restype = [ctypes.c_int, ctypes.c_void_p], ctypes.c_void_p
    libc.signal(signum, None)  # SIG_DFL is the null pointer


def _by_default(signum: int) -> None:
    _default_in_c(signum)
    os.kill(os.getpid(), signum)


class _Descriptor:
    """A file descriptor of somebody else's, which may be closed and its number be another file's by now."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._identity = self._found()

    @property
    def is_there(self) -> bool:
        return self._identity is not None and self._found() == self._identity

    def write(self, data: bytes) -> None:
        if self.is_there:
            with contextlib.suppress(OSError):
                os.write(self.number, data)

    def _found(self) -> tuple[int, int] | None:
        try:
            status = os.fstat(self.number)
        except OSError:
            return None
        return status.st_dev, status.st_ino


# Forks. A child has its parent's handlers and wakeup fd: a signal sent to the child would be heard by the parent.

_masks: dict[int, set[int]] = {}
"""What each thread that is forking had blocked before."""
_forks_are_watched = False


def _watch_forks(watch: SignalWatch) -> None:
    global _forks_are_watched
    _watches.append(watch)
    if not _forks_are_watched:
        os.register_at_fork(before=_block, after_in_parent=_unblock, after_in_child=_leave)
        _forks_are_watched = True


def _block() -> None:
    """Let no signal reach the child before it has let go of the handlers."""
    watched = {signum for watch in _watches for signum in watch._former}
    if watched:
        _masks[threading.get_ident()] = {*signal.pthread_sigmask(signal.SIG_BLOCK, watched)}


def _unblock() -> None:
    mask = _masks.pop(threading.get_ident(), None)
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _leave() -> None:
    for watch in reversed([*_watches]):
        watch._put_back()
        watch._reader.close()
        watch._writer.close()
    _unblock()
