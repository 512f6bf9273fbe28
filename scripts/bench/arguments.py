"""What every script here can be told: where results go, where the servers write, which binaries run."""

import argparse
import tempfile
from pathlib import Path

from bench import machine
from bench.processes import file_system


def parser(description):
    """A parser with these four."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--out", type=Path, default=machine.ROOT / "docs" / "bench", help="where results go")
    made.add_argument("--data-dir", type=Path, default=Path(tempfile.gettempdir()), help="where the servers write")
    made.add_argument("--binary", type=Path, default=machine.binary(), help="anabranch; by default what was built")
    generator = machine.binary("anabranch-bench")
    made.add_argument("--generator", type=Path, default=generator, help="anabranch-bench; by default what was built")
    return made


def parse(parser):
    """What the command line says. Memory in the place of a disk is refused."""
    arguments = parser.parse_args()
    arguments.binary = arguments.binary.resolve()
    arguments.generator = arguments.generator.resolve()
    if file_system(arguments.data_dir) in ("tmpfs", "ramfs"):
        parser.error(f"{arguments.data_dir} is memory, not a disk: choose another --data-dir")
    return arguments
