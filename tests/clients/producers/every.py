"""The producers and connectors that the tests run."""

from typing import NamedTuple

import builds
from producers.agent import agent
from producers.flink import flink
from producers.kpl import kpl
from producers.telegraf import telegraf


class Needs(NamedTuple):
    """What a test needs."""

    # Programs of the machine.
    programs: list
    # The protocols with which it runs, one after the other.
    protocols: list


# The tests. Each is a function of a Target, the name of a new stream, and a new folder. It returns figures as a text.
ALL = {
    kpl: Needs(builds.MAVEN, ["https"]),
    flink: Needs(builds.MAVEN, ["https", "http"]),
    telegraf: Needs(["go"], ["https", "http"]),
    agent: Needs(builds.MAVEN, ["https", "http"]),
}
