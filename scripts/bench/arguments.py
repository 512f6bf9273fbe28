"""Command line options that all benchmark scripts share: folder of the results, folder of the servers' data, binary."""

import argparse
import tempfile
from pathlib import Path

from bench import machine
from bench.processes import file_system


def parser(description):
    """A parser with the four shared options."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--out", type=Path, default=machine.ROOT / "docs" / "bench", help="folder of the results")
    made.add_argument("--data-dir", type=Path, default=Path(tempfile.gettempdir()), help="folder of the servers' data")
    made.add_argument(
        "--binary",
        type=Path,
        default=machine.binary(),
        help="the anabranch binary; default: the binary of `make dist`",
    )
    generator = machine.binary("anabranch-bench")
    made.add_argument("--generator", type=Path, default=generator, help="the load generator; default: anabranch-bench")
    return made


def parse(parser):
    """Parses the command line. Refuses a data folder that is in memory instead of on a disk."""
    arguments = parser.parse_args()
    arguments.binary = arguments.binary.resolve()
    arguments.generator = arguments.generator.resolve()
    if file_system(arguments.data_dir) in ("tmpfs", "ramfs"):
        parser.error(f"{arguments.data_dir} is memory, not a disk: choose another --data-dir")
    return arguments
