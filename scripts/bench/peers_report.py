"""Makes a table and plots from the JSON lines of `peers.py`."""

import json
from statistics import median

from bench import plots
from bench.install import say
from bench.loads import TITLES


def read(path):
    """Reads the lines of a run."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def write(folder, lines):
    """Writes table and plots into the folder of the lines."""
    (folder / "peers.md").write_text(markdown(lines))
    for load in ("batch", "single-32"):
        draw_rates(folder / f"peers-{load}.svg", lines, load)
    draw_latencies(folder / "peers-single-1.svg", lines, "single-1")
    say(f"table and plots are in {folder}")


def brief(result):
    """A measurement as text, for a line of progress."""
    return (
        f"{result['records_per_s']:,.0f} records/s, p50 {digits(result['p50_us'] / 1000)} ms, "
        f"p99 {digits(result['p99_us'] / 1000)} ms, {result['errors']} errors"
    )


def markdown(lines):
    """A whole run as a Markdown page."""
    run = lines[0]
    return "\n\n".join([introduction(run, lines), contestants_table(run), *load_sections(run, lines)]) + "\n"


def introduction(run, lines):
    """Machine and method of the measurement."""
    place = run["machine"]
    text = (
        f"Measured {run['date']} at revision {run['revision']} on {place['cpus']} processors ({place['cpu']}), "
        f"{place['memory_gib']} GiB, Linux {place['kernel']}, {place['file_system']}. "
        f"Rounds: {run['rounds']}, each with every contestant once, each load sent for "
        f"{run['warm_up_seconds']:g} s and then measured for "
        f"{run['seconds']:g} s. Records of 1 KiB that no compression makes smaller. Figures are medians of the rounds, "
        f"in brackets the least and the greatest. Servers and generator share the processors and the disk.\n\n"
        f"{floor_sentence(lines)}"
    )
    for absent in run["absent"]:
        text += f"\n\nNot measured: {absent['name']}: {absent['reason']}."
    failures = [line for line in lines if line["line"] == "failure"]
    for failure in failures:
        where = f"{failure['contestant']}, {failure['load'] or 'start'}, round {failure['round']}"
        text += f"\n\nFailed: {where}: {' '.join(failure['reason'].split())}."
    return text


def floor_sentence(lines):
    """The machine's times for syncs and round trips."""
    floors = [line for line in lines if line["line"] == "floor"]
    costs = {}
    for floor in floors:
        for sync in floor["fdatasync"]:
            if sync["file"] == "preallocated":
                costs.setdefault(sync["bytes"] >> 10, []).append(sync["times"]["p50_us"])
    syncs = ", ".join(f"{size:,} KiB {median(times):.0f} µs" for size, times in costs.items())
    trip = median(floor["tcp_round_trip"]["p50_us"] for floor in floors)
    return (
        f"In the same run an fdatasync into written blocks cost at the median: {syncs}; "
        f"a loopback round trip {trip:.0f} µs."
    )


def contestants_table(run):
    """Versions and settings."""
    rows = [["contestant", "version", "nodes", "an acknowledged record survives a power cut", "settings"]]
    for each in run["contestants"]:
        survives = "yes" if each["durable"] else "no"
        rows.append([each["name"], each["version"], str(each["nodes"]), survives, each["settings"]])
    return table(rows)


def load_sections(run, lines):
    """A heading and a table for each load."""
    for load, title in TITLES.items():
        groups = results_by_contestant(run, lines, load)
        if groups:
            head, make_row = (JOURNEY_HEAD, journey_row) if load.startswith("e2e") else (HEAD, row)
            yield f"### {title}\n\n{table([head, *(make_row(name, results) for name, results in groups.items())])}"


def results_by_contestant(run, lines, load):
    """The results of one load, in the order of the contestants."""
    groups = {}
    for contestant in run["contestants"]:
        results = [
            line
            for line in lines
            if line["line"] == "result" and line["load"] == load and line["contestant"] == contestant["name"]
        ]
        if results:
            groups[contestant["name"]] = results
    return groups


JOURNEY_HEAD = [
    "contestant",
    "sent → acknowledged p50 ms",
    "acknowledged → received p50 ms",
    "p99 ms",
    "sent → received p50 ms",
    "p99 ms",
    "missing or twice",
    "errors",
]


def journey_row(name, results):
    """One contestant's figures from a put to its reader. A receipt before the acknowledgement counts as 0.001 ms."""

    def each(figure):
        return spread([result[figure] / 1000 for result in results])

    return [
        name,
        each("put_p50_us"),
        each("p50_us"),
        each("p99_us"),
        each("send_to_receipt_p50_us"),
        each("send_to_receipt_p99_us"),
        f"{sum(result['missing'] + result['unexpected'] for result in results):,}",
        f"{sum(result['errors'] for result in results):,}",
    ]


HEAD = [
    "contestant",
    "records/s",
    "p50 ms",
    "p99 ms",
    "server CPU s per million records",
    "generator CPU s per million records (share of the processors)",
    "device bytes per byte",
    "peak memory of all servers, MiB",
    "errors",
]


def row(name, results):
    """One contestant's figures for a load."""

    def each(figure):
        return [figure(result) for result in results if result["records"] > 0]

    per_million = 1e6
    writes = results[0]["bench"] == "put"
    return [
        name,
        spread(each(lambda result: result["records_per_s"])),
        spread(each(lambda result: result["p50_us"] / 1000)),
        spread(each(lambda result: result["p99_us"] / 1000)),
        spread(each(lambda result: result["server_cpu_s"] * per_million / result["records"])),
        "{} ({:.0%})".format(
            spread(each(lambda result: result["cpu_s"] * per_million / result["records"]), brackets=False),
            median(each(generator_share) or [0]),
        ),
        spread(each(bytes_written)) if writes else "–",
        spread(each(lambda result: result["server_peak_resident_bytes"] / (1 << 20)), brackets=False),
        f"{sum(result['errors'] for result in results):,}",
    ]


def generator_share(result):
    """The generator's share of the processors. Near 100 % the result measures the generator, not the servers."""
    return result["cpu_s"] / max(result["seconds"], 0.001) / result["cpus"]


def bytes_written(result):
    """Bytes that the device wrote for each byte of acknowledged data."""
    return result["disk_bytes"] / (result["records"] * result["record_size"])


def spread(values, brackets=True):
    """The median, followed by the lowest and the highest value."""
    if not values:
        return "–"
    text = digits(median(values))
    if brackets and len(values) > 1:
        text += f" ({digits(min(values))}–{digits(max(values))})"
    return text


def digits(value):
    """A number with three significant digits. Large numbers are rounded to whole numbers."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def table(rows):
    """A Markdown table. The first row is the head."""
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def draw_rates(path, lines, load):
    """Draws the records per second of all contestants for one load."""
    groups = results_by_contestant(lines[0], lines, load)
    values = {name: [result["records_per_s"] for result in results] for name, results in groups.items()}
    if values:
        plots.bars(path, TITLES[load], values, "records per second", durable(lines[0]))


def draw_latencies(path, lines, load):
    """Draws the median latency of all contestants for one load."""
    groups = results_by_contestant(lines[0], lines, load)
    values = {name: [result["p50_us"] / 1000 for result in results] for name, results in groups.items()}
    if values:
        plots.bars(path, TITLES[load], values, "milliseconds until the acknowledgement, median", durable(lines[0]))


def durable(run):
    """Names of the contestants whose acknowledged records survive a power cut."""
    return {contestant["name"] for contestant in run["contestants"] if contestant["durable"]}
