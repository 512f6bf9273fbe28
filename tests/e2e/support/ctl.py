"""Runs `anabranch ctl`."""

import json
import subprocess


def ctl(binary, node, *arguments, stdin=None):
    """Runs a command with `--json` and returns its parsed output. Raises RuntimeError with its message if it fails."""
    command = [str(part) for part in (binary, "ctl", "--node", node.grpc, "--json", *arguments)]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip())
    return json.loads(done.stdout)
