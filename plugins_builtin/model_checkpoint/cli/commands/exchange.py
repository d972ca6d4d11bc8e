"""``mce export`` and ``mce import``: tensors to files of other tools, and from them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from model_checkpoint.cli.completing import checkpoints, formats, runs
from model_checkpoint.cli.options import command, place_options
from model_checkpoint.cli.output import print_json, say, size
from model_checkpoint.errors import ConfigurationError

if TYPE_CHECKING:
    from typing import Any

    from model_checkpoint.cli.place import Place
    from model_checkpoint.kernel import Kernel

    Registry = Any


@command(
    "export",
    "mce export best:val_loss model.safetensors --object model",
    "mce export latest model.pt --object model",
    "mce export latest folder --format huggingface",
    short_help="Write the tensors of a checkpoint for other tools.",
)
@click.argument("which", shell_complete=checkpoints)
@click.argument("target", type=click.Path(path_type=Path))
@click.option(
    "--format",
    shell_complete=formats,
    help="safetensors, torch, huggingface or a plugin's; read from TARGET's name unless told.",
)
@click.option("--object", "object_name", metavar="NAME", help="Only this object, such as model.")
@place_options
def export(which: str, target: Path, format: str | None, object_name: str | None, as_json: bool, place: Place) -> None:
    """Write the tensors of the checkpoint WHICH to TARGET, which must not exist, verified on the way.

    Names begin with the object's, as in model.0.weight, unless --object names
    one or there is only a model. What is to be imported again, or loaded into a
    model, is exported with --object.
    """
    with place.open() as kernel:
        files = kernel.export(which, target, format=_format(kernel, target, format), object=object_name)
    if as_json:
        print_json({"files": [{"path": path, "nbytes": path.stat().st_size} for path in files]})
    else:
        for path in files:
            say(f"{path}  {size(path.stat().st_size)}")


def _format(kernel: Kernel, target: Path, given: str | None) -> str:
    """Return the format that is meant. Raises ``ConfigurationError`` where a file would be named like another one."""
    codecs = cast("Registry", kernel.plugins.provided.others["register_codecs"])
    with tempfile.TemporaryDirectory(prefix="mce-export-") as folder:
        named = Path(folder, target.name or "target")
        named.touch()  # codecs tell the format of files that are there
        found = [name for name in codecs.names() if (codec := codecs.get(name)) and codec.detects(named)]
    if given is None and len(found) > 1:
        raise ConfigurationError(f"{target} may be of the formats {', '.join(found)}: say --format")
    if given is not None and found and given not in found and given in codecs.names():
        raise ConfigurationError(
            f"{target} looks like format {found[0]!r}, and --format says {given!r}: choose another name, or format"
        )
    return given or (found[0] if found else "safetensors")


@command(
    "import",
    "mce import model.safetensors --object model",
    "mce import weights.pt --object model --experiment digits --metric val_loss=0.2",
    short_help="Save the tensors of a file as a checkpoint.",
)
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--format",
    shell_complete=formats,
    help="safetensors, torch, huggingface or a plugin's; read from the name unless told.",
)
@click.option("--experiment", default="imported", show_default=True, help="The experiment of a new run.")
@click.option(
    "--run",
    "run_name",
    metavar="RUN",
    help="The run that it becomes a checkpoint of; a new one unless told.",
    shell_complete=runs,
)
@click.option("--object", "object_name", default="model", show_default=True, metavar="NAME", help="What it is.")
@click.option("--step", type=int, help="The step that it was taken at.")
@click.option("--epoch", type=int, help="The epoch that it was taken in.")
@click.option("--metric", "metrics", multiple=True, metavar="NAME=VALUE", help="What it was measured by; repeatable.")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="A label; repeatable.")
@place_options
def import_(
    source: Path,
    format: str | None,
    experiment: str,
    run_name: str | None,
    object_name: str,
    step: int | None,
    epoch: int | None,
    metrics: tuple[str, ...],
    tags: tuple[str, ...],
    as_json: bool,
    place: Place,
) -> None:
    """Save the tensors of SOURCE, a file or folder of another tool, as a checkpoint.

    The tensors become the state of --object, under the names that they have in
    SOURCE: export with --object what is to come back as it was. Nothing that
    SOURCE brings is run. Where there is no store yet, one is made, as by a save.
    """
    measured = dict(map(_measured, metrics))
    with place.create() as kernel:
        with kernel.run(experiment, run=run_name) as run:
            checkpoint_id = kernel.import_checkpoint(
                source, format=format, object=object_name, step=step, epoch=epoch, metrics=measured, tags=tags
            )
        record = kernel.checkpoint(checkpoint_id)
    if as_json:
        print_json(record)
    else:
        say(f"{checkpoint_id}  {size(record.nbytes)} in run {run.name}")


def _measured(text: str) -> tuple[str, float]:
    name, equals, value = text.rpartition("=")
    try:
        return name, float(value) if equals and name else float("")
    except ValueError:
        raise ConfigurationError(f"--metric {text!r} is not NAME=VALUE with a number as the value") from None
