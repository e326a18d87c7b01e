"""Short texts for configurations and numbers, to be shown to users."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from ogmge.components import is_component, parse
from search.experiment.dimensions import END, METHOD, START, Range
from search.experiment.space import Entry


def text(value: Any) -> str:
    """Format the value of a setting.

    >>> text(0.217543), text(["audio", "visual"]), text("sum"), text(None), text([1, 2])
    ('0.218', 'audio,visual', 'sum', 'null', '[1, 2]')
    >>> text({"name": "mine:net", "width": 64})
    'mine:net(width=64)'
    """
    if is_component(value):
        return str(parse(value))
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, list | tuple) and {*map(type, value)} == {str}:
        return ",".join(value)
    return json.dumps(value)


def label(changes: Mapping[str, Any], separator: str = " ") -> str:
    """Format the changes of a trial, given by dotted path, as one line; a window becomes one word.

    >>> label({"fusion": "sum", "optimizer.lr": 0.01, "modulation.method": "ogm", "modulation.alpha": 0.21754,
    ...        "modulation.start": 2, "modulation.end": 7})
    'fusion=sum lr=0.01 method=ogm alpha=0.218 window=2-7'
    >>> label({"fusion": "sum", "modulation.method": "none"})
    'fusion=sum'
    >>> label({"modalities": ["audio"], "encoder.audio": "mlp", "encoder.visual.width": 64})
    'modalities=audio audio=mlp visual.width=64'
    """
    shown = dict(changes)
    end = shown.pop(END, None)
    if shown.get(METHOD) == "none":
        del shown[METHOD]
    words = [
        f"window={value}-{end}" if path == START else f"{path.partition('.')[2] or path}={text(value)}"
        for path, value in shown.items()
    ]
    return separator.join(words) or "as written"


def of_space(entry: Entry) -> str:
    """Format an entry of the space: choices or a range.

    >>> of_space(["sum", 0.1]), of_space(Range(low=0, high=6, step=2)), of_space(Range(low=0.05, high=1.5, log=True))
    ('sum, 0.1', '0 to 6 in steps of 2', '0.05 to 1.5 on a logarithmic scale')
    """
    if not isinstance(entry, Range):
        return ", ".join(map(text, entry))
    how = " on a logarithmic scale" if entry.log else f" in steps of {entry.step:g}" if entry.step else ""
    return f"{entry.low:g} to {entry.high:g}{how}"


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings to dotted paths.

    >>> flat({"fusion": "sum", "optimizer": {"lr": 0.1}})
    {'fusion': 'sum', 'optimizer.lr': 0.1}
    """
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def duration(seconds: float) -> str:
    """Format seconds.

    >>> duration(8), duration(95), duration(7322)
    ('8 s', '1 min 35 s', '2 h 02 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def size(count: float) -> str:
    """Format a number of bytes.

    >>> size(812), size(2_314_536), size(7.8e10)
    ('812 bytes', '2.3 MB', '78.0 GB')
    """
    for unit, bytes_ in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= bytes_:
            return f"{count / bytes_:.1f} {unit}"
    return f"{count:.0f} bytes"


def modalities(metrics: Mapping[str, float], split: str = "val") -> list[str]:
    """Return the modalities that the metrics of a split name."""
    start = f"{split}/accuracy/"
    return [key.removeprefix(start) for key in metrics if key.startswith(start)]


def modalities_in(several: Iterable[Mapping[str, float]]) -> list[str]:
    """Return the modalities that the metrics of several epochs name, without duplicates."""
    return list(dict.fromkeys(name for metrics in several for name in modalities(metrics)))


def configuration(changes: Mapping[str, Any]) -> str:
    """Format the changes of a trial without its seed.

    >>> configuration({"fusion": "sum", "seed": 3})
    'fusion=sum'
    """
    return label({path: value for path, value in changes.items() if path != "seed"})


def percent(value: float) -> str:
    """Format a share as a percentage.

    >>> percent(0.87654)
    '87.7 %'
    """
    return f"{100 * value:.1f} %"


def format_value(metric: str, value: float | None) -> str:
    """Format a value of a metric: an accuracy as a percentage, other metrics as a number.

    >>> format_value("val/accuracy", 0.5), format_value("val/loss", 0.5), format_value("val/loss", None)
    ('50.0 %', '0.5000', '-')
    """
    if value is None:
        return "-"
    return percent(value) if "accuracy" in metric else f"{value:.4f}"


def format_difference(metric: str, difference: float, *, unit: bool = True) -> str:
    """Format a difference of a metric: of accuracies in points, of other metrics as a number.

    >>> format_difference("val/accuracy", 0.0123), format_difference("val/accuracy", -0.01, unit=False)
    ('+1.2 points', '-1.0')
    >>> format_difference("val/loss", 0.5), format_difference("val/accuracy", -0.0004)
    ('+0.5000', '+0.0 points')
    """
    if "accuracy" not in metric:
        return f"{round(difference, 4) + 0.0:+.4f}"  # adding zero turns -0.0 into 0.0
    points = round(100 * difference, 1) + 0.0
    return f"{points:+.1f} points" if unit else f"{points:+.1f}"
