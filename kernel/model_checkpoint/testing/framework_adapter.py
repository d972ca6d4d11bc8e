"""The conformance kit for framework adapters: the rules of ``model_checkpoint.contracts.framework``, as tests.

::

    from model_checkpoint.testing import FrameworkAdapterTests
    from my_plugin import MyAdapter, make_model, tensor

    class TestMyAdapter(FrameworkAdapterTests):
        @pytest.fixture
        def make_adapter(self):
            return MyAdapter                             # called without arguments

        @pytest.fixture
        def makers(self):                                # objects that it claims: another seed, another state
            return {"model": make_model}

        @pytest.fixture
        def leaves(self):                                # values that its `view` describes, tensors or typed leaves
            return [tensor([1.0, 2.0]), tensor([])]

        def draw(self):                                  # from the framework's global random stream, if it has one
            return my_framework.random()
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import pytest

from model_checkpoint.contracts import Buffer, FrameworkAdapter, TensorView, TypedLeaf
from model_checkpoint.errors import StateDecodeError
from model_checkpoint.testing.hook_training import random_state
from model_checkpoint.testing.record_samples import rule

Make = Callable[[], FrameworkAdapter]
Makers = Mapping[str, Callable[[int], object]]


class FrameworkAdapterTests:
    """Subclass it and give `make_adapter`, `makers` and `leaves`: see the module's docstring."""

    made_anew: ClassVar[frozenset[str]] = frozenset()
    """Words of `makers` whose objects keep no tensors: those in a captured state are made for it."""

    @pytest.fixture
    def make_adapter(self) -> Make:
        """The function that makes the adapter."""
        raise NotImplementedError("override the fixture `make_adapter`")

    @pytest.fixture
    def makers(self) -> Makers:
        """By a word for it, the function that makes an object in a state that depends on a seed."""
        raise NotImplementedError("override the fixture `makers`; {} where the adapter claims no objects")

    @pytest.fixture
    def leaves(self) -> list[object]:
        """Values that the adapter's `view` describes."""
        raise NotImplementedError("override the fixture `leaves`; [] where the adapter knows none")

    def draw(self) -> object:
        """Return a draw from the framework's global random stream, or None where it has none. Override it."""
        return None

    def differs(self, state: Any) -> object:
        """Return a state that does not fit an object which has `state`. Override it if a key more and less does fit."""
        return {**dict(list(state.items())[1:]), "a key of nobody": 1}

    @rule(1)
    def test_capturing_gives_plain_values_and_leaves_and_changes_nothing(
        self, make_adapter: Make, makers: Makers
    ) -> None:
        adapter = make_adapter()
        for word, make in makers.items():
            obj = make(2)
            assert adapter.claims(obj), f"it does not claim the {word}"
            before, drawn = comparable(adapter, adapter.capture(obj)), random_state()
            found = comparable(adapter, adapter.capture(obj))
            assert found == before, f"capturing the {word} changed it"
            assert random_state() == drawn

    @rule(1)
    def test_what_is_captured_is_live(self, make_adapter: Make, makers: Makers) -> None:
        adapter = make_adapter()
        for word, make in makers.items():
            obj = make(2)
            states = [adapter.capture(obj), adapter.capture(obj)]  # both alive, so that no memory is used twice
            first, second = (memories(adapter, state) for state in states)
            assert first == second or word in self.made_anew, f"capturing the {word} copies its tensors"

    @rule(2)
    def test_a_second_object_gets_the_same_state_bit_for_bit(self, make_adapter: Make, makers: Makers) -> None:
        adapter = make_adapter()
        for word, make in makers.items():
            live = make(1)
            state = adapter.capture(make(2))
            wanted = comparable(adapter, state)
            assert comparable(adapter, adapter.capture(live)) != wanted, f"two seeds make the same {word}"
            assert not adapter.check(live, state)
            adapter.restore_into(live, state, strict=True)
            assert comparable(adapter, adapter.capture(live)) == wanted

    @rule(3)
    def test_checking_reports_every_difference_and_changes_nothing(self, make_adapter: Make, makers: Makers) -> None:
        adapter = make_adapter()
        for word, make in makers.items():
            live = make(1)
            wrong = self.differs(adapter.capture(make(2)))
            before = comparable(adapter, adapter.capture(live))
            assert adapter.check(live, wrong), f"a state that does not fit the {word} passes"
            assert comparable(adapter, adapter.capture(live)) == before

    @rule(3)
    def test_a_key_more_and_a_key_less_are_both_reported(self, make_adapter: Make, makers: Makers) -> None:
        adapter = make_adapter()
        for make in makers.values():
            live, state = make(1), adapter.capture(make(2))
            found = adapter.check(live, self.differs(state))
            if found.missing or found.unexpected:
                assert found.missing
                assert found.unexpected

    @rule(4)
    def test_viewing_and_rebuilding_are_inverse(self, make_adapter: Make, leaves: list[object]) -> None:
        adapter = make_adapter()
        for leaf in leaves:
            view = adapter.view(leaf)
            assert view is not None, f"it describes no {leaf!r}"
            back = rebuilt(adapter, view)
            assert type(back) is type(leaf)
            assert comparable(adapter, back) == comparable(adapter, leaf)

    @rule(4)
    def test_a_view_says_how_much_there_is(self, make_adapter: Make, leaves: list[object]) -> None:
        for view in tensors(make_adapter(), leaves):
            assert len(view.strides) == len(view.shape)
            assert view.contiguous().nbytes == math.prod(view.shape) * view.itemsize
            assert view.contiguous().format == "B"

    @rule(4)
    def test_two_that_lie_in_one_buffer_share_their_memory(self, make_adapter: Make, leaves: list[object]) -> None:
        adapter = make_adapter()
        for view in tensors(adapter, leaves):
            if 0 not in view.shape:
                base = adapter.from_buffer(copied(view), None)
                assert adapter.from_buffer(copied(view), base) is base, "one buffer has two bases"
                both = [adapter.view(cut(adapter, base, view)) for _ in range(2)]
                places = {each.memory for each in both if isinstance(each, TensorView)}
                assert len(places) == 1

    @rule(4)
    def test_a_tensor_that_leaves_its_buffer_is_refused(self, make_adapter: Make, leaves: list[object]) -> None:
        adapter = make_adapter()
        for view in tensors(adapter, leaves):
            base = adapter.from_buffer(copied(view), None)
            for wrong in ({"offset": 8 + copied(view).nbytes}, {"shape": (2**62,)}, {"shape": (2**70,)}):
                if 0 not in view.shape:
                    with pytest.raises(StateDecodeError):
                        cut(adapter, base, view, **wrong)

    @rule(4)
    def test_what_is_not_its_own_is_no_leaf(self, make_adapter: Make) -> None:
        adapter = make_adapter()
        assert [adapter.view(value) for value in (3, "text", None, object(), [], {})] == [None] * 6

    @rule(5)
    def test_the_random_stream_is_not_drawn_from_and_goes_on(self, make_adapter: Make) -> None:
        adapter = make_adapter()
        state = copy.deepcopy(adapter.capture_rng())
        if state is None:
            pytest.skip("it has no random streams")
        expected = [self.draw() for _ in range(3)]
        assert len({repr(each) for each in expected}) > 1, "override draw(): it gives the same each time"
        adapter.restore_rng(state)
        adapter.capture_rng()
        adapter.check_rng(state)
        assert [self.draw() for _ in range(3)] == expected

    @rule(5)
    def test_a_state_that_is_none_is_refused_and_changes_nothing(self, make_adapter: Make) -> None:
        adapter = make_adapter()
        state = copy.deepcopy(adapter.capture_rng())
        if state is None:
            pytest.skip("it has no random streams")
        for wrong in (3, "text", {"nobody": 1}):
            with pytest.raises(StateDecodeError):
                adapter.check_rng(wrong)
        assert comparable(adapter, adapter.capture_rng()) == comparable(adapter, state)


def comparable(adapter: FrameworkAdapter, value: Any) -> object:
    """Return `value` as something equal only to an equal one: tensors by their bits, floats by theirs."""
    if isinstance(value, Mapping):
        return [(comparable(adapter, key), comparable(adapter, item)) for key, item in value.items()]
    if isinstance(value, list | tuple):
        return [comparable(adapter, item) for item in value]
    if isinstance(value, float):
        return value.hex()
    found = adapter.view(value)
    if isinstance(found, TensorView):
        return found.dtype, tuple(found.shape), bytes(found.contiguous()), dict(found.attributes)
    if isinstance(found, TypedLeaf):
        return found.kind, comparable(adapter, found.value)
    return repr(value)


def memories(adapter: FrameworkAdapter, value: Any) -> list[object]:
    """Return where the tensors of a captured state lie."""
    if isinstance(value, Mapping):
        return [place for item in value.values() for place in memories(adapter, item)]
    if isinstance(value, list | tuple):
        return [place for item in value for place in memories(adapter, item)]
    found = adapter.view(value)
    return [(found.memory, found.offset)] if isinstance(found, TensorView) and 0 not in found.shape else []


def tensors(adapter: FrameworkAdapter, leaves: list[object]) -> list[TensorView]:
    """Return the views of those leaves that are tensors."""
    return [view for view in map(adapter.view, leaves) if isinstance(view, TensorView)]


def copied(view: TensorView) -> Buffer:
    """Return the buffer that a storage backend would give back."""
    return Buffer("b", view.dtype, view.shape, memoryview(bytearray(view.contiguous())))


def cut(adapter: FrameworkAdapter, base: object, view: TensorView, **changed: Any) -> object:
    """Return the tensor that lies in `base` as `view` says, with something changed."""
    said = {"dtype": view.dtype, "shape": view.shape, "strides": None, "offset": 0, "attributes": view.attributes}
    return adapter.from_view(base, **{**said, **changed})


def rebuilt(adapter: FrameworkAdapter, view: TensorView | TypedLeaf) -> object:
    """Return what comes back of a leaf."""
    if isinstance(view, TypedLeaf):
        return adapter.from_leaf(view.kind, view.value)
    return cut(adapter, adapter.from_buffer(copied(view), None), view)
