"""What can be begun: one line for each kind of plugin whose contract exists."""

from __future__ import annotations

from typing import NamedTuple


class Kind(NamedTuple):
    """What is said of a kind where it is offered, and in what is written."""

    summary: str
    """What the generated plugin does, as it stands before anybody changes it."""
    work: str
    """The module that does the work, without ``.py``."""
    use: str
    """How it is used once it is installed, in Markdown, with the placeholders of the templates."""
    obj: str = ""
    """The class in ``plugin.py`` that is the plugin, where it is not the module itself."""


KINDS = {
    "storage": Kind(
        "Checkpoints in a folder, one file each",
        "backend",
        'Use it with `Kernel.open(storage_backend="$name")`.',
    ),
    "record-store": Kind(
        "Records in memory",
        "store",
        'Use it with `Kernel.open("$name://", checkpoint_dir="checkpoints")`.',
    ),
    "hook": Kind(
        "A line in a file for every checkpoint that becomes the best",
        "plugin",
        "It works as soon as it is installed. Where it writes stands in `mce.toml`:\n\n"
        '```toml\n[plugins.$name]\nfile = "best.log"\n```',
        "BestLog",
    ),
    "adapter": Kind(
        "Saves and restores the objects of a small framework",
        "adapter",
        "It works as soon as it is installed: the kernel asks it for every object of `$module`.",
    ),
    "analyzer": Kind(
        "Exponential moving averages of every metric",
        "analyzer",
        'It works as soon as it is installed. Ask it with `kernel.analyzer("$name").report()`.',
    ),
    "codec": Kind(
        "Tensors in a JSON file",
        "codec",
        'Use it with `kernel.export("latest", "model.json", format="$name")`.',
    ),
    "command": Kind(
        "Prints the newest checkpoints",
        "command",
        "Use it with `mce $name`.",
    ),
    "save-decision": Kind(
        "Saves at ever longer intervals",
        "decision",
        'Use it with `mc.start("digits", save="$name:100 | last")`.',
    ),
}
