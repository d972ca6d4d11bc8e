"""No event is left out of the tests beside this one, and none is made in them: they run public operations."""

from __future__ import annotations

import ast
import runpy
from pathlib import Path

from model_checkpoint.hooks.specs import EVENTS


def test_all_events_are_seen_and_none_is_made(repository: Path) -> None:
    waiting = runpy.run_path(str(repository / "docs/generate.py"))["AWAITED"].values()
    sources = [path.read_text("utf-8") for path in Path(__file__).parent.glob("*.py")]
    calls = [node for source in sources for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    by_name = [(getattr(call.func, "attr", ""), call.args) for call in calls]
    taken = {args[0].value for name, args in by_name if name == "take" and isinstance(args[0], ast.Constant)}

    assert taken == set(EVENTS) - {event for events in waiting for event in events}
    assert not [name for name, _ in by_name if name in ("fire", "afire", "call_historic")]
