"""``mce demo``: a small training to stop and start again."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from pathlib import Path

import click

from model_checkpoint.cli.options import command
from model_checkpoint.cli.output import print_json, say
from model_checkpoint.cli.place import Place
from model_checkpoint.errors import MissingExtraError


@command("demo", "mce demo", "mce demo --kill-at 1100", "mce demo --folder demo --steps 500 --json")
@click.option("--folder", default="mce-demo", show_default=True, metavar="DIR",
              type=click.Path(file_okay=False, path_type=Path), help="Where its store goes.")  # fmt: skip
@click.option("--steps", default=2000, show_default=True, type=click.IntRange(min=1), help="How long to train.")
@click.option("--save-every", default=250, show_default=True, type=click.IntRange(min=1), metavar="STEPS",
              help="Save a checkpoint after as many.")  # fmt: skip
@click.option("--kill-at", type=click.IntRange(min=1), metavar="STEP", help="Die there as by kill -9.")
def demo(folder: Path, steps: int, save_every: int, kill_at: int | None, as_json: bool) -> None:
    """Train a small network on generated data, with checkpoints. Needs PyTorch; takes a few seconds.

    Stop it with Ctrl-C, or kill it; called again, it goes on, and ends with the same weights.
    """
    if find_spec("torch") is None:
        raise MissingExtraError("the demo trains a PyTorch model, and", "torch")
    from model_checkpoint.cli.demo import train

    place = Place(f"sqlite:///{folder.absolute()}/experiments.db", str(folder / "checkpoints"))
    with place.create() as kernel:
        outcome = train(kernel, steps=steps, save_every=save_every, kill_at=kill_at, tell=partial(say, err=as_json))
    if as_json:
        print_json(outcome)
        return
    say(f"weights {outcome.weights}, best by val_loss: {outcome.best}")
    say(f"look around:  mce ls -C {folder}")
    say(f"stop one:     mce demo --folder {folder} --kill-at {steps // 2 + 1}, and go on without --kill-at")
