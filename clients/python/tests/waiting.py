"""Waits for conditions. Each wait has a deadline, and its error names the missing condition."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def wait_until(what: str, condition: Callable[[], Any], timeout: float = 30.0, pause: float = 0.01) -> Any:
    """Returns the first true value of `condition()`. Raises TimeoutError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"after {timeout:g} s still not: {what}")
        time.sleep(pause)
