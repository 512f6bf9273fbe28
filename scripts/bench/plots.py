"""Plots as SVG files: figures that differ by thousands stand on logarithmic axes."""

from pathlib import Path
from statistics import median

from matplotlib import pyplot, rcParams

pyplot.switch_backend("svg")
# Text stays text, and the same figures make the same file.
rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "anabranch", "font.size": 9})

OURS, DURABLE, OTHER = "#1f6fb2", "#555555", "#bbbbbb"


def bars(path, title, values, unit, durable):
    """A bar for each name: median, with a line from least to greatest. Ours is blue; pale is what a power cut loses."""
    names = list(values)[::-1]
    middles = [median(values[name]) for name in names]
    errors = [
        [middle - min(values[name]) for name, middle in zip(names, middles, strict=True)],
        [max(values[name]) - middle for name, middle in zip(names, middles, strict=True)],
    ]
    colours = [colour(name, durable) for name in names]
    figure, axes = pyplot.subplots(figsize=(8, 0.8 + 0.32 * len(names)), layout="constrained")
    axes.barh(names, middles, xerr=errors, color=colours, ecolor="#d08020", height=0.7)
    axes.set_xscale("log")
    axes.set_xlim(left=min(middles) / 3, right=max(middles) * 4)
    for position, middle in enumerate(middles):
        text = f"{middle:,.0f}" if middle >= 100 else f"{middle:.3g}"
        axes.annotate(text, (middle, position), xytext=(14, 0), textcoords="offset points", va="center")
    axes.set_title(title, loc="left", fontsize=9)
    axes.set_xlabel(f"{unit} (grey: durable on a majority; pale: lost by a power cut)")
    save(figure, path)


def colour(name, durable):
    """Ours stands out."""
    if name.startswith("anabranch"):
        return OURS
    return DURABLE if name in durable else OTHER


def save(figure, path):
    """Writes it without the date, which would make every run a change."""
    figure.savefig(Path(path), metadata={"Date": None})
    pyplot.close(figure)
