"""How aggregated metrics look when they are printed."""

from __future__ import annotations

from model_checkpoint.contracts import MetricAggregate

_HEADER = ("metric", "count", "last", "min", "at step", "max", "at step", "mean", "std", "not finite")


class AggregatedMetrics(dict[str, MetricAggregate]):
    """A dict of metric name to aggregate whose ``str`` is a table; its ``repr`` is that of a dict."""

    def __str__(self) -> str:
        if not self:
            return "no metrics"
        rows = [_HEADER, *(_row(name, aggregate) for name, aggregate in self.items())]
        widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
        return "\n".join(_line(row, widths) for row in rows)


def _row(name: str, aggregate: MetricAggregate) -> tuple[str, ...]:
    return (
        name,
        str(aggregate.count),
        _number(aggregate.last),
        _number(aggregate.min),
        _number(aggregate.min_step),
        _number(aggregate.max),
        _number(aggregate.max_step),
        _number(aggregate.mean),
        _number(aggregate.std),
        str(aggregate.non_finite),
    )


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    numbers = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
    return "  ".join([row[0].ljust(widths[0]), *numbers])


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, int):
        return str(value) if value.bit_length() <= 64 else f"{'-' if value < 0 else ''}~2**{value.bit_length() - 1}"
    return f"{value:.6g}"
