"""Builds programs for the tests. Their packages come from registries, once, and stay in the user's cache."""

import os
import subprocess
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "anabranch" / "clients"
# The programs that a build with Maven needs.
MAVEN = ["java", "javac", "mvn"]
# Seconds that one command may take, for example Maven with an empty cache.
TIMEOUT = 1200


def class_path(pom, made, sources):
    """Compiles Java with the packages that a pom.xml names, into the folder `made`. Returns the class path."""
    packages, classes = made / "classpath", made / "classes"
    if not packages.exists() or packages.stat().st_mtime < pom.stat().st_mtime:
        goal = ["dependency:build-classpath", f"-Dmdep.outputFile={packages}"]
        succeed(["mvn", "-q", "-B", "-f", pom, f"-Dmaven.repo.local={CACHE / 'maven'}", *goal])
    path = packages.read_text()
    compiled = classes / sources[0].with_suffix(".class").name
    newest = max(file.stat().st_mtime for file in (packages, *sources))
    if not compiled.exists() or compiled.stat().st_mtime < newest:
        succeed(["javac", "--release", "17", "-nowarn", "-proc:none", "-cp", path, "-d", classes, *sources])
    return f"{classes}:{path}"


def succeed(command, **options):
    """Runs a command. Raises RuntimeError with its output if it fails."""
    text = [str(part) for part in command]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "timeout": TIMEOUT, **options}
    done = subprocess.run(text, text=True, check=False, **options)
    if done.returncode != 0:
        raise RuntimeError(f"ended with {done.returncode}: {' '.join(text)[:500]}\n{done.stdout}")
