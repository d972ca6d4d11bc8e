"""A state comes back from JSON and bytes with its values, dtypes, shapes and sharing; a hostile tree is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model_checkpoint.checkpoint.tree import flatten
from model_checkpoint.errors import UnstorableStateError
from model_checkpoint.kernel.adapters import AdapterSet

RoundTrip = Callable[[object], Any]
TORCH_DTYPES = (torch.uint8, torch.bool, torch.bfloat16, torch.int32, torch.float64, torch.complex64)
NUMPY_DTYPES = ("u1", "f2", ">i4", "f8", "c8")


def bits(tensor: Any) -> bytes:
    if isinstance(tensor, torch.Tensor):
        flat = torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor)
        return bytes(flat.view(-1).view(torch.uint8).numpy().tobytes())
    return bytes(tensor.tobytes())


leaves = (
    st.none() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=False)
    | st.builds(lambda n, dtype: torch.ones(n, 2, dtype=dtype), st.integers(0, 3), st.sampled_from(TORCH_DTYPES))
    | st.builds(lambda n, word: np.ones((2, n), np.dtype(word)), st.integers(0, 3), st.sampled_from(NUMPY_DTYPES))
)  # fmt: skip
trees = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
        | st.dictionaries(st.integers(), inner, max_size=3) | st.tuples(inner, inner)
    ),
    max_leaves=10,
)  # fmt: skip


def equal(a: Any, b: Any) -> bool:
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor | np.ndarray):
        return a.dtype == b.dtype and tuple(a.shape) == tuple(b.shape) and bits(a) == bits(b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    return bool(a == b)


@given(trees)
def test_nested_values_with_tensors_of_two_frameworks_come_back(round_trip: RoundTrip, tree: object) -> None:
    assert equal(round_trip(tree), tree)


def test_names_are_the_places_of_the_first_owners_and_unique(adapters: AdapterSet) -> None:
    one = lambda: torch.zeros(1)  # noqa: E731
    value = {"model": {"a.b": one(), "a": {"b": one(), "b#2": one()}}, "state": {0: {"exp": one()}, "0": one()}}
    value["odd\n\ud800"] = {"x" * 900: one()}
    names = [buffer.name for buffer in flatten({"in": value}, adapters, path="s", hidden=("s.in.", "s.")).buffers]
    assert names[:5] == ["model.a.b", "model.a.b#2", "model.a.b#2#2", "state[0].exp", "state.0"]
    assert names[5].startswith("odd")
    assert len(names[5].encode("utf-8")) <= 520
    assert names[5].isprintable()


class Opaque:
    pass


class Wrapped:
    """An object that holds another one in its state."""

    def __init__(self, inner: object) -> None:
        self.inner = inner

    def state_dict(self) -> dict[str, object]:
        return {"inner": self.inner, "n": 1}

    def load_state_dict(self, state: dict[str, object]) -> None:
        raise AssertionError("not needed")


def test_objects_within_the_state_are_stored_by_their_own_state(round_trip: RoundTrip) -> None:
    module = torch.nn.Linear(2, 1)
    back = round_trip({"list": [Wrapped(Wrapped(module))], "rng": np.random.default_rng(1)})
    assert torch.equal(back["list"][0]["inner"]["inner"]["weight"], module.weight)
    assert back["rng"]["bit_generator"] == "PCG64"


def test_every_unstorable_leaf_is_reported_by_its_place_and_with_what_to_do(adapters: AdapterSet) -> None:
    value = {
        "a": torch.empty(2, device="meta"), "b": [np.array([object()])], "c": {"d": Opaque()}, "ok": torch.zeros(1),
        "e": Wrapped(Opaque()), "f": torch.utils.data.DataLoader([1]),
    }  # fmt: skip
    with pytest.raises(UnstorableStateError) as refused:
        flatten({"in": value}, adapters, path="s", hidden=("s.in.",))
    problems = dict(refused.value.problems)
    assert list(problems) == ["a", "b[0]", "c.d", "e.inner", "f"]
    for place, remedy in {"a": "to_empty", "b[0]": "tolist", "c.d": "state_dict", "f": "ResumableLoader"}.items():
        assert remedy in problems[place]


def test_an_object_whose_state_never_ends_is_refused(adapters: AdapterSet) -> None:
    class Endless:
        def state_dict(self) -> dict[str, object]:
            return {"next": Endless()}

        def load_state_dict(self, state: object) -> None:
            raise AssertionError("not needed")

    with pytest.raises(UnstorableStateError, match="deep"):
        flatten(Endless(), adapters, path="state")
