"""Telegraf: metrics in lines go through outputs.kinesis into a stream, and through inputs.kinesis_consumer out of it.

Checks: each line is in the stream once. The consumer gets each line at least once. When it is started again, it goes on
from the positions that it keeps in a table of the cluster.
"""

import os
import re
import sys
from pathlib import Path

import builds
from producers import pages, streams
from producers.programs import Program

from support.streams import create_stream

VERSION = "v1.39.1"
PLUGINS = (
    *("inputs.tail", "inputs.kinesis_consumer", "outputs.kinesis", "outputs.file"),
    *("parsers.influx", "serializers.influx"),
)
# The code blocks in TOML on the page, by their order.
OUTPUT, INPUT = range(2)
# Where the lines of the test come from, and where they go to.
TAIL = """[[inputs.tail]]
files = ["{}"]
from_beginning = true
data_format = "influx"
"""
FILE = """[[outputs.file]]
files = ["{}"]
data_format = "influx"
"""
LINES, MORE = 2000, 500


def telegraf(target, stream, directory):
    """Telegraf 1.39.1."""
    client = target.client()
    create_stream(client, stream, 2)
    # The page has the command that makes the table.
    command = pages.block("telegraf", "sh", {pages.ENDPOINT: target.endpoint, pages.STREAM: stream})
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    builds.succeed(["sh", "-c", command], env={**os.environ, **environment(target), **target.root, "PATH": path})
    read_first = pump(target, stream, directory, range(LINES))
    read_then = pump(target, stream, directory, range(LINES, LINES + MORE))
    streams.once([number_of(record.data) for record in streams.records(client, stream)], range(LINES + MORE))
    again = len(read_first) + len(read_then) - LINES - MORE
    assert again < LINES / 2, f"{again} lines came again after the restart"
    return f"{LINES + MORE} lines put, each once; {again} of them read twice"


def pump(target, stream, directory, numbers):
    """Puts lines with one Telegraf, and waits until another one has read them. Returns the numbers of what it read."""
    written, read = directory / f"written-{numbers[0]}", directory / f"read-{numbers[0]}"
    written.write_text("".join(f"line number={number}i\n" for number in numbers))
    read.touch()
    with (
        start(target, stream, OUTPUT, TAIL.format(written), directory / f"output-{numbers[0]}"),
        start(target, stream, INPUT, FILE.format(read), directory / f"input-{numbers[0]}") as reader,
    ):

        def found():
            return [number_of(line) for line in read.read_bytes().splitlines()]

        reader.wait("all lines are read", lambda: set(numbers) <= set(found()))
        # The positions are stored when Telegraf ends.
        reader.process.terminate()
        reader.end()
    return found()


def start(target, stream, block, other, place):
    """Starts Telegraf with a configuration of the page, and with the other end of the pipe."""
    config, rest = place.with_suffix(".conf"), place.with_suffix(".rest.conf")
    config.write_text(pages.block("telegraf", "toml", {pages.ENDPOINT: target.endpoint, pages.STREAM: stream}, block))
    rest.write_text(other)
    command = [built(), "--config", config, "--config", rest]
    return Program(command, environment(target), place.with_suffix(".log"))


def environment(target):
    """The environment variables of Telegraf."""
    return {**target.environment, "AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL_DYNAMODB": target.endpoint}


def built():
    """Builds Telegraf with the few plugins that the test needs."""
    place = builds.CACHE / "telegraf" / VERSION
    if not (place / "telegraf").exists():
        tags = ",".join(["custom", *PLUGINS])
        package = f"github.com/influxdata/telegraf/cmd/telegraf@{VERSION}"
        builds.succeed(["go", "install", "-tags", tags, package], env={**os.environ, "GOBIN": str(place)})
    return place / "telegraf"


def number_of(line):
    """The number in a line."""
    return int(re.search(rb"number=(\d+)i", line).group(1))
