"""Waiting for conditions: always with a deadline, always saying what didn't happen."""

import time


def wait_until(what, condition, timeout=30.0, pause=0.02):
    """Returns the first true value of `condition()`; raises when there is none within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"after {timeout:.0f} s still not: {what}")
        time.sleep(pause)
