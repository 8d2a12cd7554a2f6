"""Precision against recall and time to detection, as a picture and in the terminal."""

from __future__ import annotations

from math import inf, isfinite
from pathlib import Path

import matplotlib as mpl
import plotille
from matplotlib.figure import Figure

from bench.evaluation.drive import ORIGINATING, SIDES
from bench.evaluation.report import curve
from bench.evaluation.runs import Results
from zhenxian.simulation import Kind

mpl.use("agg")
_DPI = 70
_COLOURS = 10  # of matplotlib's cycle


def picture(results: Results, path: Path) -> None:
    """Write the PNG."""
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for side in SIDES:
        points = curve(results.curve[side])
        left.plot([p.recall for p in points], [p.precision for p in points], ".-", label=side)
        near = min(points, key=lambda p: abs(p.threshold - 1.0), default=None)
        if near is not None:
            below = -14 if side is ORIGINATING else 6
            left.annotate(
                "1.0", (near.recall, near.precision), textcoords="offset points", xytext=(6, below)
            )
    left.set(
        xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.02),
        title="Pooled from strength 0.1 to 10, a country's shares",
    )  # fmt: skip
    left.legend()
    for index, (kind, seconds, of) in enumerate(_times(results)):
        hours = [0.0, *(s / 3_600 for s in seconds)]
        found = [count / of for count in range(len(seconds) + 1)]
        style = "-" if index < _COLOURS else "--"
        right.step(hours, found, style, where="post", label=kind.value)
    right.set(
        xlabel="hours since the first call", ylabel="share of operators found", ylim=(0, 1.02),
        title="Time to detection, one access, originating side",
    )  # fmt: skip
    right.legend(fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=_DPI)


def _times(results: Results) -> list[tuple[Kind, list[float], int]]:
    found = []
    for kind in Kind:
        mine = results.splits[1][ORIGINATING].of(kind)
        if mine:
            seconds = sorted(one.seconds for one in mine if one.seconds != inf)
            found.append((kind, [s for s in seconds if isfinite(s)], len(mine)))
    return found


def terminal(results: Results, width: int) -> str:
    """Both plots in text."""
    wide = min(width, 110) - 20
    curves = _canvas(wide, "recall", "precision", 1.0)
    for side in SIDES:
        points = curve(results.curve[side])
        if points:
            found, right = [p.recall for p in points], [p.precision for p in points]
            curves.plot(found, right, label=side, marker=side[0])
    times = _times(results)
    latest = max((seconds[-1] for _, seconds, _ in times if seconds), default=3_600.0)
    hours = _canvas(wide, "hours until found", "share of operators", latest / 3_600)
    for letter, (kind, seconds, of) in zip("abcdefghijklmnop", times, strict=False):
        if seconds:
            share = [(index + 1) / of for index in range(len(seconds))]
            hours.plot([s / 3_600 for s in seconds], share, label=kind.value, marker=letter)
    return "\n\n".join(
        [
            "Precision against recall, strengths from 0.1 to 10",
            curves.show(legend=True),
            "Time to detection, one access, originating side",
            hours.show(legend=True),
        ]
    )


def _canvas(width: int, x: str, y: str, most: float) -> plotille.Figure:
    canvas = plotille.Figure()
    canvas.width, canvas.height = width, 16
    canvas.x_label, canvas.y_label = x, y
    canvas.set_x_limits(0, most)
    canvas.set_y_limits(0, 1)
    canvas.with_colors = False  # letters tell the lines apart, on paper too
    canvas.register_label_formatter(float, _label)
    return canvas


def _label(number: float, chars: int, **_: object) -> str:
    return f"{number:.2f}".ljust(chars)
