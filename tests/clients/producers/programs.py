"""A running program of a test, whose output is read line by line."""

import contextlib
import os
import signal
import subprocess
import threading

from support.waiting import wait_until

# Seconds that a program may take for one step.
PATIENCE = 180


class Program:
    """A process. The context manager kills it and its children, however the block ends. If the block fails, the error
    has the end of its log."""

    def __init__(self, command, environment, log):
        self.log = log
        self.lines = []
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, **{name: str(value) for name, value in environment.items()}},
                start_new_session=True,
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self):
        return self

    def __exit__(self, kind, error, _):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._reader.join()
        if kind is not None and issubclass(kind, Exception):
            said = self.log.read_text(errors="replace").splitlines()[-40:]
            raise AssertionError("\n".join([f"{kind.__name__}: {error}", *self.lines[-5:], *said])) from error

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def say(self, text):
        """Writes to the standard input of the program."""
        self.process.stdin.write(text)
        self.process.stdin.flush()

    def wait(self, what, condition, patience=PATIENCE):
        """Returns the first true value of the condition. Fails if the program ends before."""

        def holds():
            running = self.process.poll() is None
            value = condition()
            assert value or running, f"ended with {self.process.returncode} before: {what}"
            return value

        return wait_until(what, holds, patience, 0.05)

    def end(self):
        """Waits until the program ends by itself, with success. Returns the lines that it has printed."""
        wait_until("the program ends", lambda: self.process.poll() is not None, PATIENCE, 0.05)
        self._reader.join()
        assert self.process.returncode == 0, f"ended with {self.process.returncode}"
        return self.lines
