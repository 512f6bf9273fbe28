"""Draws plots from the JSON lines of `curves.py`."""

from statistics import median

from bench import plots
from bench.install import say

GB = 1e9

# For each curve: the varied parameter, and the figures that are drawn over it (file, title, axis, value of a line,
# log axis).
X_LABELS = {
    "shards": "shards",
    "connections": "connections",
    "record-size": "bytes of a record",
    "records-per-call": "records of a call",
}
CONDITIONS = {
    "shards": "PutRecords × 500 of 1 KiB, 8 connections",
    "connections": "PutRecord of 1 KiB, 8 shards",
    "record-size": "PutRecords of up to 500 records and 4 MiB, 8 connections, 8 shards",
    "records-per-call": "PutRecords of 1 KiB records, 8 connections, 8 shards",
}


def records_per_second(line):
    """Throughput in records."""
    return line["records_per_s"]


def megabytes_per_second(line):
    """Throughput in megabytes."""
    return line["mb_per_s"]


def milliseconds(line):
    """Median latency of a call."""
    return line["p50_us"] / 1000


def cpu_seconds_per_gigabyte(line):
    """CPU seconds of all servers for each gigabyte of acknowledged data."""
    return line["server_cpu_s"] * GB / data_bytes(line)


def data_bytes(line):
    """Bytes of acknowledged data."""
    return max(line["records"] * line["record_size"], 1)


FIGURES = {
    "throughput": ("records per second", records_per_second, False),
    "bytes": ("MB per second", megabytes_per_second, False),
    "latency": ("ms until the acknowledgement, median", milliseconds, True),
    "cpu": ("CPU seconds of all servers per GB", cpu_seconds_per_gigabyte, True),
}


def draw(folder, lines):
    """Draws every plot for which the lines hold enough data."""
    results = [line for line in lines if line["line"] == "result" and line["records"] > 0]
    for curve, x_label in X_LABELS.items():
        of_curve = [line for line in results if line["curve"] == curve]
        if not of_curve:
            continue
        for figure, (y_label, value, log_y) in FIGURES.items():
            # If the record size varies, records per second cannot be compared. Otherwise bytes show the same as
            # records.
            if figure != ("throughput" if curve == "record-size" else "bytes"):
                path = folder / f"curve-{curve}-{figure}.svg"
                plots.curves(path, CONDITIONS[curve], series(of_curve, value), x_label, y_label, log_y)
        draw_components(folder / f"curve-{curve}-components.svg", curve, of_curve)
    say(f"plots are in {folder}")


def series(lines, value):
    """For each number of nodes: pairs of x and the values of all rounds, ordered by x."""
    found = {}
    for line in lines:
        name = "1 node" if line["nodes"] == 1 else f"{line['nodes']} nodes, {line['nodes']} replicas"
        found.setdefault(name, {}).setdefault(line["x"], []).append(value(line))
    return {name: sorted(points.items()) for name, points in found.items()}


def draw_components(path, curve, lines):
    """CPU seconds per GB by component: a bar for each number of nodes at each point."""
    bars = {}
    for line in sorted(lines, key=lambda line: (line["nodes"], line["x"])):
        bars.setdefault(f"{line['x']:,}\n{line['nodes']} n.", []).append(line)
    names = dict.fromkeys(name for line in lines for name in line["component_cpu_s"])

    def height(name, of_bar):
        return median(line["component_cpu_s"].get(name, 0) * GB / data_bytes(line) for line in of_bar)

    parts = {name: [height(name, of_bar) for of_bar in bars.values()] for name in names}
    parts = {name: heights for name, heights in parts.items() if any(heights)}
    title = f"{CONDITIONS[curve]}\nby {X_LABELS[curve]} and nodes"
    plots.stacks(path, title, parts, list(bars), "CPU seconds of all servers per GB")
