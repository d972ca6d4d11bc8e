"""Tables of what plugins provide."""

from __future__ import annotations

import pytest

from model_checkpoint.errors import PluginConflictError
from model_checkpoint.plugins import Provided, Registry


@pytest.fixture
def table() -> Registry[int]:
    table: Registry[int] = Registry("storage")
    table.add("b", 2, "two")
    table.add("a", 1, "one")
    return table


def test_what_was_entered_is_found_by_name(table: Registry[int]) -> None:
    assert (table.get("a"), table.get("b"), table.get("c")) == (1, 2, None)
    assert table.names() == ["a", "b"]
    assert list(table) == [2, 1]


def test_a_name_belongs_to_one_plugin(table: Registry[int]) -> None:
    with pytest.raises(
        PluginConflictError, match="plugins 'one' and 'two' both provide the storage 'a': uninstall one"
    ):
        table.add("a", 3, "two")
    assert table.get("a") == 1


def test_a_plugin_may_enter_its_own_name_again(table: Registry[int]) -> None:
    table.add("a", 3, "one")
    assert table.get("a") == 3


def test_a_plugin_is_taken_out_with_everything_it_entered(table: Registry[int]) -> None:
    table.add("c", 3, "one")
    table.remove_plugin("one")
    assert table.names() == ["b"]
    table.add("a", 4, "two")
    assert table.get("a") == 4


def test_what_a_plugin_provides_is_listed_with_its_kind(table: Registry[int]) -> None:
    assert table.of_plugin("one") == ["storage:a"]
    assert table.of_plugin("nobody") == []


def test_there_is_one_table_for_each_kind() -> None:
    provided = Provided.empty()
    kinds = [table.kind for table in provided.tables().values()]
    assert kinds[:4] == ["storage", "scheme", "adapter", "analyzer"]
    assert len(set(kinds)) == len({id(table) for table in provided.tables().values()}) == 16
