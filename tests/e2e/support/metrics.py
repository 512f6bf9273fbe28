"""The text format of Prometheus, read strictly, and the tables of docs/metrics.md."""

import math
import re
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "metrics.md"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
SAMPLE = re.compile(rf"(?P<name>{NAME})(?:\{{(?P<labels>[^}}]*)\}})? (?P<value>\S+)")
LABEL = re.compile(r'(?P<name>[a-zA-Z_][a-zA-Z0-9_]*)="(?P<value>(?:[^"\\]|\\["\\n])*)"(?:,|$)')


@dataclass
class Family:
    """All samples of one metric: from the name and labels of each to its value."""

    name: str
    help: str
    type: str = ""
    samples: dict = field(default_factory=dict)

    def value(self, suffix="", **labels):
        """The value of one sample."""
        return self.samples[self.name + suffix, frozenset(labels.items())]

    def label_values(self):
        """The values that each label has, by its name; without the bounds of buckets."""
        values = {}
        for _, labels in self.samples:
            for name, value in labels:
                if name != "le":
                    values.setdefault(name, set()).add(value)
        return values


def scrape(address, path="/metrics"):
    """The metrics of a node, by name."""
    with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as response:
        assert response.headers["Content-Type"] == CONTENT_TYPE
        return parse(response.read().decode())


def parse(text):
    """Reads what `GET /metrics` answers. Asserts that each family is written once, in one piece, with its help and type
    first, that no sample comes twice, and that histograms add up."""
    assert text.endswith("\n")
    families = {}
    family = None
    for line in text.removesuffix("\n").split("\n"):
        if line.startswith("# HELP "):
            _, _, name, help_text = line.split(" ", 3)
            assert name not in families, f"{name} comes twice"
            assert help_text.endswith("."), line
            family = families[name] = Family(name, help_text)
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name == family.name and not family.samples, line
            family.type = kind
        else:
            take_sample(family, line)
    for family in families.values():
        check(family)
    return families


def take_sample(family, line):
    """Adds one line to the family that it must belong to."""
    match = SAMPLE.fullmatch(line)
    assert match, f"not a sample: {line}"
    suffixes = ("_bucket", "_sum", "_count") if family.type == "histogram" else ("",)
    assert match["name"] in {family.name + suffix for suffix in suffixes}, line
    labels = match["labels"] or ""
    pairs = [(pair["name"], pair["value"]) for pair in LABEL.finditer(labels)]
    assert ",".join(f'{name}="{value}"' for name, value in pairs) == labels, line
    key = match["name"], frozenset(pairs)
    assert len(key[1]) == len(pairs) and key not in family.samples, f"twice: {line}"
    family.samples[key] = float(match["value"])


def check(family):
    """Asserts what holds for every family of its type."""
    assert family.type in {"counter", "gauge", "histogram"}, family
    assert family.samples, f"{family.name} has no sample"
    assert (family.type == "counter") == family.name.endswith("_total"), family.name
    if family.type == "counter":
        # Values that applications send have fractions. Everything else counts things.
        is_sum = family.name.startswith("anabranch_cloudwatch_")
        assert all(value >= 0 and (is_sum or value.is_integer()) for value in family.samples.values()), family
    if family.type == "histogram":
        check_histogram(family)


def check_histogram(family):
    """Asserts that buckets rise, and that the last one has what `_count` says."""
    series = {}
    for (name, labels), value in family.samples.items():
        bound = dict(labels).get("le")
        of = frozenset(label for label in labels if label[0] != "le")
        series.setdefault(of, {})[name.removeprefix(family.name), bound] = value
    for of, values in series.items():
        buckets = {float(bound): count for (suffix, bound), count in values.items() if suffix == "_bucket"}
        counts = [buckets[bound] for bound in sorted(buckets)]
        assert counts == sorted(counts), (family.name, of)
        assert buckets[math.inf] == values["_count", None], (family.name, of)
        assert values["_sum", None] >= 0, (family.name, of)


@dataclass(frozen=True)
class Documented:
    """A row of a table in docs/metrics.md."""

    name: str
    type: str
    labels: frozenset
    values: frozenset


def documented():
    """The rows of docs/metrics.md, by name. `labels` are names; `values` are those that the row lists."""
    rows = {}
    for line in DOCUMENT.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not (line.startswith("| `anabranch_") and len(cells) == 5):
            continue
        name, kind, labels = cells[0].strip("`"), cells[1], cells[2]
        lists = re.findall(r"\(([^)]*)\)", labels)
        names = re.findall(r"`([a-z_]+)`", re.sub(r"\([^)]*\)", "", labels))
        values = [value for values in lists for value in re.findall(r"`([a-z_]+)`", values)]
        assert name not in rows, f"{name} is documented twice"
        assert cells[3].endswith("."), f"{name}: the meaning is no sentence"
        assert cells[4], f"{name}: says nothing of when to worry"
        rows[name] = Documented(name, kind, frozenset(names), frozenset(values))
    return rows
