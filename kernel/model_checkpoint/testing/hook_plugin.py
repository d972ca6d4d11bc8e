"""The conformance kit for plugins that implement hooks: that they do their work and nobody any harm.

::

    from model_checkpoint.testing import HookPluginTests
    from my_plugin import MyPlugin

    class TestMyPlugin(HookPluginTests):
        @pytest.fixture
        def make_plugin(self):
            return MyPlugin                  # called without arguments, for a fresh plugin

The rules, each tested in an ordinary training on the real kernel, with checkpoints in memory:

1.  It can be registered: each of its hooks exists and takes only arguments which that hook has.
2.  Taken out, it leaves nothing behind: no other hook that it registered, nothing of it that is still called.
3.  None of its hooks raises, whether optional fields are filled or None.
4.  It vetoes nothing in an ordinary training, unless `vetoes` says that it may.
5.  What is being trained is the same before and after each operation, bit for bit.
6.  It draws nothing from the global random streams.
7.  It does not keep the objects of a training alive once the training is over.
8.  No call takes longer than `limit_s`.
9.  Several threads may fire its events at once.
10. It leaves no thread running when the kernel is closed.
"""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import ClassVar

import pytest

from model_checkpoint.errors import PluginError
from model_checkpoint.hooks import HookManager, HookStats
from model_checkpoint.kernel import Kernel
from model_checkpoint.testing.hook_training import Weights, fire_all, random_state, train
from model_checkpoint.testing.record_samples import in_threads, rule

NAME = "plugin under test"


class HookPluginTests:
    """Subclass it and give `make_plugin`: see the module's docstring."""

    vetoes: ClassVar[bool] = False
    """True for a plugin that may refuse ordinary operations: rule 4 is then not tested."""
    limit_s: ClassVar[float] = 1.0
    """How long one call may take, in seconds."""

    @pytest.fixture
    def make_plugin(self) -> Callable[[], object]:
        """The function that makes a fresh plugin."""
        raise NotImplementedError("override the fixture `make_plugin`")

    @pytest.fixture
    def kernel(self, make_plugin: Callable[[], object]) -> Iterator[Kernel]:
        """An open kernel with the plugin in it."""
        opened = self.opened(make_plugin)
        yield opened
        opened.close()

    def opened(self, make_plugin: Callable[[], object]) -> Kernel:
        """Open a kernel, in memory, with a fresh plugin."""
        kernel = Kernel.open("sqlite:///:memory:", storage_backend="memory", plugins="builtin", quiet=True)
        try:
            kernel.plugins.add(make_plugin(), NAME)
        except PluginError:
            kernel.close()
            raise
        return kernel

    @rule(1)
    def test_it_can_be_registered(self, make_plugin: Callable[[], object]) -> None:
        hooks = HookManager()
        hooks.register(make_plugin(), NAME)
        assert hooks.hooks_of(NAME), "none of its functions is marked: use @hookimpl or @hook_handler"

    @rule(2)
    def test_taken_out_it_leaves_nothing_behind(self, kernel: Kernel) -> None:
        others = {info.name for info in kernel.plugins.list()} - {NAME}  # some come up only when they are needed
        train(kernel, Weights())
        assert kernel.hooks.unregister(name=NAME) is not None
        left = {line.plugin for line in kernel.hooks.stats()} - others
        assert left == set(), f"it registered hooks of its own that stayed: {sorted(left)}"

    @rule(3)
    def test_none_of_its_hooks_raises_in_a_training(self, kernel: Kernel) -> None:
        train(kernel, Weights())
        kernel.flush(self.limit_s * 10)
        assert failures(kernel.hooks) == []

    @rule(3)
    def test_none_of_its_hooks_raises_where_optional_fields_are_none(self, kernel: Kernel) -> None:
        fire_all(kernel, {})
        kernel.flush(self.limit_s * 10)
        assert failures(kernel.hooks) == []

    @rule(4)
    def test_it_vetoes_nothing_ordinary(self, kernel: Kernel) -> None:
        if self.vetoes:
            pytest.skip("this plugin may veto")
        assert train(kernel, Weights()) == []

    @rule(5)
    def test_what_is_trained_stays_the_same(self, kernel: Kernel) -> None:
        weights = Weights()
        before = repr(weights.state_dict())
        train(kernel, weights)
        assert repr(weights.state_dict()) == before

    @rule(6)
    def test_it_draws_nothing_from_the_random_streams(self, kernel: Kernel) -> None:
        before = random_state()
        train(kernel, Weights())
        kernel.flush(self.limit_s * 10)
        assert random_state() == before

    @rule(7)
    def test_it_does_not_keep_what_is_trained_alive(self, make_plugin: Callable[[], object]) -> None:
        plugin = make_plugin()
        kernel = self.opened(lambda: plugin)
        weights = Weights()
        alive = weakref.ref(weights)
        train(kernel, weights)
        kernel.close()
        del weights, kernel
        gc.collect()
        assert alive() is None, f"{type(plugin).__name__} still holds the object that was saved"

    @rule(8)
    def test_no_call_takes_too_long(self, kernel: Kernel) -> None:
        train(kernel, Weights())
        kernel.flush(self.limit_s * 10)
        slow = [(line.hook, line.max_s) for line in own_lines(kernel.hooks) if line.max_s > self.limit_s]
        assert slow == []

    @rule(9)
    def test_several_threads_may_fire_its_events_at_once(self, kernel: Kernel) -> None:
        kernel.start_run("kit")
        fire_all(kernel, {"value": 0.1, "step": 1})
        alone = failures(kernel.hooks)
        in_threads(8, lambda number: fire_all(kernel, {"value": 0.1, "step": number}))
        kernel.flush(self.limit_s * 10)
        assert failures(kernel.hooks) == alone

    @rule(10)
    def test_no_thread_is_left_running(self, make_plugin: Callable[[], object]) -> None:
        before = set(threading.enumerate())
        kernel = self.opened(make_plugin)
        train(kernel, Weights())
        kernel.close()
        deadline = time.monotonic() + self.limit_s
        while (left := own_threads(before)) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert left == []


def own_lines(hooks: HookManager) -> list[HookStats]:
    """Return the statistics of the plugin under test."""
    return [line for line in hooks.stats() if line.plugin == NAME]


def failures(hooks: HookManager) -> list[str]:
    """Return which hooks of the plugin under test failed, and how often."""
    return [f"{line.hook} failed {line.errors} times" for line in own_lines(hooks) if line.errors]


def own_threads(before: set[threading.Thread]) -> list[str]:
    """Return the names of threads that were started since and still run."""
    return [thread.name for thread in threading.enumerate() if thread not in before and thread.is_alive()]
