"""Waits for conditions. Each wait has a deadline, and its error names the missing condition."""

import time


def wait_until(what, condition, timeout=30.0, pause=0.02):
    """Returns the first true value of `condition()`. Raises TimeoutError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"after {timeout:.0f} s still not: {what}")
        time.sleep(pause)
