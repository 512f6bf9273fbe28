#!/usr/bin/env python3
"""Fails when code of the hot path takes over 5 % more instructions than recorded, or one allocation more.

A cost test is in a Rust module `cost` and does its work inside `anabranch_cost::counted`. This script runs each cost
test alone under callgrind, in the release test binary that `cargo test --release --workspace` makes.
scripts/guard.json holds the recorded counts. A commit that makes the hot path more expensive on purpose, or cheaper,
also updates that file with `make guard-record`.

Instructions can be compared only if the compiler, the C library and the processor that valgrind shows are the same.
Reason: programs choose code by the features of the processor, and valgrind hides AVX-512. In any other environment
the script compares only allocations, and says so.
"""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RECORD = ROOT / "scripts" / "guard.json"

# In percent: growth above this fails, and shrinkage below this should be recorded.
LIMIT = 5.0
# In percent: a second run may differ by this much, because the seeds of hash maps are random.
NOISE = 0.5
# Callgrind sets the counts to zero when a thread enters `counted`, and dumps them when the thread leaves it. The two
# options need two different patterns for this function, because valgrind ignores the second of two equal patterns.
# Each thread has its own counts, because the main thread may still be busy.
CALLGRIND = [
    "valgrind",
    "-q",
    "--tool=callgrind",
    "--separate-threads=yes",
    "--zero-before=*anabranch_cost::counted*",
    "--dump-after=*cost::counted*",
]
# The environment variables must be the same in each run, because they are on the stack and shift it. The tunables
# keep glibc from using `rep movsb` and `rep stosb` for long copies: valgrind counts these as one instruction per
# byte. With vector instructions, as for short copies, the count of a copy is close to its real cost.
ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "LC_ALL": "C",
    "TMPDIR": "/tmp",
    "GLIBC_TUNABLES": "glibc.cpu.x86_rep_movsb_threshold=1073741824:glibc.cpu.x86_rep_stosb_threshold=1073741824",
}
ALLOCATORS = {"malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc", "memalign"}


@dataclass(frozen=True)
class Counts:
    instructions: int
    allocations: int


@dataclass(frozen=True)
class Test:
    """A cost test: its name in scripts/guard.json, its test binary, and its path inside the binary."""

    name: str
    binary: Path
    path: str


@dataclass(frozen=True)
class Row:
    """One line of the printed table. `verdict` is empty, or begins with FAIL or with `record it`."""

    name: str
    recorded: Counts | None
    now: Counts | None
    verdict: str

    @property
    def fails(self):
        return self.verdict.startswith("FAIL")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--record", action="store_true", help="write the counts into scripts/guard.json")
    parser.add_argument("part", nargs="*", help="only tests whose name contains one of these")
    options = parser.parse_args()
    if shutil.which("valgrind") is None:
        sys.exit("guard: no valgrind found: scripts/setup.sh valgrind")
    recorded = json.loads(RECORD.read_text()) if RECORD.exists() else {"environment": {}, "counts": {}}
    chosen = tests(binaries())
    if options.part:
        chosen = [test for test in chosen if any(part in test.name for part in options.part)]
    measured = count_all(chosen)
    if options.record:
        check_repeatable(measured, count_all(chosen))
        return record(recorded, measured, whole=not options.part)
    return report(recorded, measured, whole=not options.part)


# Counting.


def binaries():
    """The test binary of each library crate, by crate name. Builds only what `cargo test` has not built."""
    command = ["cargo", "test", "--release", "--workspace", "--no-run", "--message-format=json-render-diagnostics"]
    built = run(command, cwd=ROOT, stderr=None)
    messages = [json.loads(line) for line in built.splitlines() if line.startswith("{")]
    artifacts = [message for message in messages if message.get("executable") and message["profile"]["test"]]
    return {
        artifact["target"]["name"].removeprefix("anabranch_"): Path(artifact["executable"])
        for artifact in artifacts
        if "lib" in artifact["target"]["kind"]
    }


def tests(by_crate):
    """Every test in a module `cost`. The name of a test leaves out the part `cost`."""
    found = []
    for crate, binary in sorted(by_crate.items()):
        for line in run([binary, "--list", "--format", "terse"]).splitlines():
            path = line.removesuffix(": test")
            parts = path.split("::")
            if path != line and "cost" in parts[:-1]:
                name = "::".join([crate, *(part for part in parts if part != "cost")])
                found.append(Test(name, binary, path))
    return found


def count_all(chosen):
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip([test.name for test in chosen], pool.map(count, chosen), strict=True))


def count(test):
    """Runs one test in the folder of its binary, so that its arguments have the same length on every machine."""
    with tempfile.TemporaryDirectory(prefix="anabranch-guard-") as directory:
        out = Path(directory) / "out"
        binary = f"./{test.binary.name}"
        command = [*CALLGRIND, f"--callgrind-out-file={out}", binary, "--exact", test.path, "--test-threads=1"]
        output = run(command, cwd=test.binary.parent, env=ENVIRONMENT)
        dumps = [dump.read_text() for dump in Path(directory).glob("out.*-*")]
        entered = [dump for dump in dumps if "cost::counted" in dump.partition("fn=")[2]]
        if len(entered) != 1:
            sys.exit(f"guard: {test.name} enters `counted` {len(entered)} times, not once\n{output}")
        return parse(entered[0])


def parse(dump):
    """Counts the instructions and the calls of the allocator in a callgrind file.

    The line `totals:` has the number of instructions. A line `cfn=(id) name` names the function that the next
    `calls=` line calls. The name is present only at the first occurrence of its id.
    """
    total = re.search(r"^totals: (\d+)", dump, re.MULTILINE)
    if total is None:
        sys.exit("guard: callgrind's file has no totals")
    names, calls, callee = {}, Counter(), None
    for line in dump.splitlines():
        if named := re.match(r"(c?)fn=\((\d+)\)(?: (.*))?", line):
            called, number, name = named.groups()
            if name:
                names[number] = name
            if called:
                callee = number
        elif line.startswith("calls="):
            calls[callee] += int(line.removeprefix("calls=").split()[0])
    allocations = sum(number for callee, number in calls.items() if names.get(callee) in ALLOCATORS)
    return Counts(int(total[1]), allocations)


def environment():
    """Everything that the number of instructions depends on, except the code."""
    lines = run(["valgrind", "-v", "-v", "--tool=none", "/bin/true"])
    shown = re.search(r"Arch and hwcaps: \w+, \w+, (\S+)", lines)
    processor = re.sub(r"-(rdrand|rdseed|rdtscp)\b", "", shown[1]) if shown else platform.machine()
    rustc = run(["rustc", "--version"]).split()[1]
    return {"rustc": rustc, "libc": " ".join(platform.libc_ver()), "processor": processor}


# Comparing and recording.


def compare(recorded, measured, whole=True, instructions=True):
    """One row for each name.

    `whole`: all tests were run, so a recorded name without new counts belongs to a removed test.
    `instructions`: whether instructions can be compared.
    """
    names = [*measured, *(name for name in recorded if whole and name not in measured)]
    return [row(name, recorded.get(name), measured.get(name), instructions) for name in sorted(names)]


def row(name, before, now, instructions):
    if before is None:
        return Row(name, before, now, "FAIL: not recorded")
    if now is None:
        return Row(name, before, now, "FAIL: recorded, but there is no such test")
    grown = instructions and now.instructions * 100 > before.instructions * (100 + LIMIT)
    shrunk = instructions and now.instructions * 100 < before.instructions * (100 - LIMIT)
    if grown or now.allocations > before.allocations:
        what = [*["instructions"] * grown, *["allocations"] * (now.allocations > before.allocations)]
        return Row(name, before, now, f"FAIL: more {' and '.join(what)}")
    if shrunk or now.allocations < before.allocations:
        return Row(name, before, now, "record it: cheaper")
    return Row(name, before, now, "")


def table(rows):
    head = ["", "recorded", "now", "change", "allocations", "now", ""]
    body = [
        [
            each.name,
            number(each.recorded, "instructions"),
            number(each.now, "instructions"),
            f"{change(each.recorded, each.now):+.1f} %" if each.recorded and each.now else "",
            number(each.recorded, "allocations"),
            number(each.now, "allocations"),
            each.verdict,
        ]
        for each in rows
    ]
    widths = [max(len(line[i]) for line in [head, *body]) for i in range(len(head))]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *(line[i].rjust(widths[i]) for i in range(1, 6)), line[6]]).rstrip()
        for line in [head, *body]
    )


def report(recorded, measured, whole):
    here, there = environment(), recorded["environment"]
    rows = compare(counts_of(recorded), measured, whole, instructions=here == there)
    print(table(rows))
    if here != there:
        differs = [f"{key} {there.get(key)} there, {here[key]} here" for key in here if here[key] != there.get(key)]
        print(f"guard: INSTRUCTIONS NOT COMPARED, they were recorded elsewhere: {'; '.join(differs)}")
    failed = [each.name for each in rows if each.fails]
    if failed:
        print(
            f"guard: FAILED: {', '.join(failed)}; if that is meant, `make guard-record` and commit scripts/guard.json"
        )
        return 1
    if any(each.verdict for each in rows):
        print("guard: something became cheaper: `make guard-record` and commit scripts/guard.json, so that it stays so")
    print(f"guard: passed: {len(rows)} tests")
    return 0


def record(recorded, measured, whole):
    """Writes the counts. A count that moved by less than the noise keeps its line, so a diff shows real changes."""
    here = environment()
    before = counts_of(recorded)
    counts = {} if whole else dict(before)
    for name, now in measured.items():
        old = before.get(name)
        same = old and old.allocations == now.allocations and abs(change(old, now)) <= NOISE
        counts[name] = old if same and here == recorded["environment"] else now
    if not whole and here != recorded["environment"]:
        sys.exit("guard: in another environment everything is recorded anew: give no names")
    print(table(compare(before, measured, whole)))
    lines = [f'    "{name}": {json.dumps(vars(counts[name]))}' for name in sorted(counts)]
    body = ",\n".join(lines)
    RECORD.write_text(f'{{\n  "environment": {json.dumps(here)},\n  "counts": {{\n{body}\n  }}\n}}\n')
    print(f"guard: recorded in {RECORD.relative_to(ROOT)}")
    return 0


def check_repeatable(first, second):
    again = [(name, now, second[name]) for name, now in first.items()]
    moved = [
        f"  {name}: {now}, then {then}"
        for name, now, then in again
        if abs(change(now, then)) > NOISE or now.allocations != then.allocations
    ]
    if moved:
        sys.exit("\n".join(["guard: not repeatable:", *moved]))


def counts_of(recorded):
    return {name: Counts(**counts) for name, counts in recorded["counts"].items()}


def change(before, now):
    """The growth of the instructions in percent."""
    return (now.instructions / before.instructions - 1) * 100


def number(counts, what):
    return f"{getattr(counts, what):,}" if counts else ""


def run(command, **options):
    options = {"stderr": subprocess.STDOUT, **options}
    done = subprocess.run(command, check=False, text=True, stdout=subprocess.PIPE, **options)
    if done.returncode != 0:
        sys.exit(f"guard: failed: {' '.join(map(str, command))}\n{done.stdout}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
