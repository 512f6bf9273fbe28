"""The calls of the Kinesis Agent, from a small program with its SDK and its settings.

Checks: each line of a file is in the stream once, and a node shows the metrics of the calls.
"""

from pathlib import Path

import builds
from producers import pages, streams
from producers.programs import Program

from support.streams import create_stream

HERE = Path(__file__).resolve().parent / "agent"
LINES = 5200


def agent(target, stream, directory):
    """The calls of the Kinesis Agent, with the AWS SDK for Java 1.12.390."""
    path = builds.class_path(HERE / "pom.xml", builds.CACHE / "agent", [HERE / "Agent.java"])
    client = target.client()
    create_stream(client, stream, 2)
    lines = [f"line {number} \u00e4" for number in range(LINES)]
    written = directory / "orders.log"
    written.write_text("".join(f"{line}\n" for line in lines))
    replacing = {pages.ENDPOINT: target.endpoint, pages.STREAM: stream, "/var/log/orders.log": written}
    settings = directory / "agent.json"
    settings.write_text(pages.block("agent", "json", replacing))
    with Program(
        [*target.java, "-cp", path, "Agent", settings], target.environment, directory / "agent.txt"
    ) as program:
        program.end()
    streams.once([record.data.decode() for record in streams.records(client, stream)], [f"{line}\n" for line in lines])
    assert target.has_metric("AWSKinesisAgent", "RecordSendAttempts")
    return f"{LINES} lines put, each once"
