"""Plots as SVG files. Figures that differ by a factor of thousands have logarithmic axes."""

from pathlib import Path
from statistics import median

from matplotlib import pyplot, rcParams

pyplot.switch_backend("svg")
# Text stays text in the SVG, and the same figures make the same file.
rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "anabranch", "font.size": 9})

OURS, DURABLE, OTHER = "#1f6fb2", "#555555", "#bbbbbb"


def bars(path, title, values, unit, durable):
    """A bar for each name: the median, with a line from the lowest to the highest value.

    Anabranch is blue. Systems whose acknowledged records a power cut can lose are pale.
    """
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
    """The colour of a bar. Anabranch has a colour of its own."""
    if name.startswith("anabranch"):
        return OURS
    return DURABLE if name in durable else OTHER


def curves(path, title, series, x_label, y_label, log_y=False):
    """A line for each series of (x, values): the medians, with a band from the lowest to the highest value."""
    figure, axes = pyplot.subplots(figsize=(5.5, 3.4), layout="constrained")
    for name, points in series.items():
        xs = [x for x, _ in points]
        line = axes.plot(xs, [median(values) for _, values in points], marker="o", markersize=3, label=name)[0]
        low, high = [min(values) for _, values in points], [max(values) for _, values in points]
        axes.fill_between(xs, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
    axes.set_xscale("log")
    if log_y:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.set_title(title, loc="left", fontsize=9)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    save(figure, path)


def stacks(path, title, parts, labels, y_label):
    """A bar for each label, cut into shares, with the total above it. `parts` has the heights of each name by label."""
    figure, axes = pyplot.subplots(figsize=(2.5 + 0.45 * len(labels), 4), layout="constrained")
    wholes = [sum(heights) for heights in zip(*parts.values(), strict=True)]
    bottom = [0.0] * len(labels)
    for name, heights in parts.items():
        shares = [100 * height / whole if whole else 0 for height, whole in zip(heights, wholes, strict=True)]
        axes.bar(labels, shares, bottom=bottom, label=name, width=0.6)
        bottom = [below + share for below, share in zip(bottom, shares, strict=True)]
    for position, whole in enumerate(wholes):
        axes.annotate(f"{whole:,.3g}" if whole < 1000 else f"{whole:,.0f}", (position, 101), ha="center", fontsize=8)
    axes.set_ylim(0, 108)
    axes.set_title(title, loc="left", fontsize=9)
    axes.set_ylabel(f"% of {y_label} (above each bar)")
    axes.legend(frameon=False, bbox_to_anchor=(1, 1), loc="upper left")
    save(figure, path)


def timelines(path, panels, step_label, load_label):
    """A panel for each scenario, over hours: a number as blue steps, the load on its own axis, refused load in red."""
    figure, grid = pyplot.subplots(len(panels) // 2, 2, figsize=(10, 2.8 * (len(panels) // 2)), layout="constrained")
    for axes, (title, hours, steps, load) in zip(grid.flat, panels, strict=True):
        beside = axes.twinx()
        beside.fill_between(hours, load["accepted"], load["offered"], color="#c03030", alpha=0.6, linewidth=0)
        beside.fill_between(hours, load["accepted"], color=OTHER, alpha=0.5, linewidth=0)
        axes.step(hours, steps, where="post", color=OURS)
        # Draws the steps in front of the load.
        axes.set_zorder(beside.get_zorder() + 1)
        axes.patch.set_visible(False)
        axes.set_title(title, loc="left", fontsize=9)
        axes.set_xlabel("hours")
        axes.set_xlim(hours[0], hours[-1])
        axes.set_ylabel(step_label, color=OURS)
        axes.set_ylim(bottom=0, top=1.1 * max(steps))
        beside.set_ylabel(f"{load_label} (red: refused)", color=DURABLE)
        beside.set_ylim(bottom=0, top=1.1 * max(load["offered"]))
    save(figure, path)


def save(figure, path):
    """Writes the figure without a date. A date would change the file in every run."""
    figure.savefig(Path(path), metadata={"Date": None})
    pyplot.close(figure)
