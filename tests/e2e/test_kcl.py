"""The real Kinesis Client Library 3.5.1: two workers share the leases of a stream. One is killed, its leases move.

`make test-clients` runs the whole scenario, with more versions and with the library's own times.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "clients"))

from kcl import versions
from kcl.scenario import Plan, Target, play

from support.clients import ACCESS_KEY, SECRET_KEY

# Leases move after 3 s instead of 10 s. A dead leader is replaced after 12 s instead of 120 s.
SETTINGS = {"failover": 3000, "idle": 250}


def test_the_leases_of_a_killed_worker_move_and_no_record_is_skipped(three, tmp_path, capsys):
    environment = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
    target = Target([node.endpoint for node in three.nodes], environment, [node.api for node in three.nodes])
    plan = Plan("polling", settings=SETTINGS, restarts=(lambda: restart(three),))
    directory = tmp_path / "workers"
    directory.mkdir()
    figures = play(versions.kcl3(), target, "kcl", plan, directory)
    with capsys.disabled():
        print(f"\nKCL: {figures}")


def restart(cluster):
    """Restarts the node that the worker which stays alive talks to."""
    cluster.terminate(cluster.nodes[1])
    cluster.restart(cluster.nodes[1])
