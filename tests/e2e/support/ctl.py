"""`anabranch ctl` as operators run it."""

import json
import subprocess


def ctl(binary, node, *arguments, stdin=None):
    """Runs a command with `--json` and returns what it printed, parsed; raises with its message when it fails."""
    command = [str(part) for part in (binary, "ctl", "--node", node.grpc, "--json", *arguments)]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip())
    return json.loads(done.stdout)
