"""Fail points: places in the code at which a node waits, so that a test can kill a node at exactly that step."""

from support.waiting import wait_until


class FailPoints:
    """A folder of fail points. A cluster that is started with `environment` uses it on all its nodes."""

    def __init__(self, directory):
        self.directory = directory
        self.directory.mkdir(parents=True, exist_ok=True)

    @property
    def environment(self):
        """The environment variable that tells the nodes the folder."""
        return {"ANABRANCH_FAIL_POINTS": str(self.directory)}

    def arm(self, place):
        """From now on a process that reaches `place` waits there."""
        (self.directory / f"{place}.reached").unlink(missing_ok=True)
        (self.directory / place).touch()

    def reached(self, place):
        """Waits until a process is at `place`. Returns its process id."""
        mark = self.directory / f"{place}.reached"
        return int(wait_until(f"a process is at {place}", lambda: mark.exists() and mark.read_text(), timeout=60))

    def release(self, place):
        """Lets processes at `place` go on."""
        (self.directory / place).unlink(missing_ok=True)
