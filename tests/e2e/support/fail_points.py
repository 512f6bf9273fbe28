"""Places at which a node waits for a test, so that somebody can be killed just then."""

from support.waiting import wait_until


class FailPoints:
    """A directory of fail points, shared by the nodes of a cluster that is started with `environment`."""

    def __init__(self, directory):
        self.directory = directory
        self.directory.mkdir(parents=True, exist_ok=True)

    @property
    def environment(self):
        """What the nodes have to know."""
        return {"ANABRANCH_FAIL_POINTS": str(self.directory)}

    def arm(self, place):
        """From now on, who comes to `place` waits there."""
        (self.directory / f"{place}.reached").unlink(missing_ok=True)
        (self.directory / place).touch()

    def reached(self, place):
        """Waits until a process is at `place`; returns its id."""
        mark = self.directory / f"{place}.reached"
        return int(wait_until(f"somebody is at {place}", lambda: mark.exists() and mark.read_text(), timeout=60))

    def release(self, place):
        """Nobody waits at `place` any more."""
        (self.directory / place).unlink(missing_ok=True)
