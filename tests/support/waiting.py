"""The one place where a test polls: everything that has an event is waited for by that event."""

import errno
import os
import time

# Sanitizer builds are several times slower: deadlines stretch, promises that name a time do not.
PATIENCE = float(os.environ.get("GREEN_TEST_PATIENCE", "1"))


def wait_for(condition, what, seconds=10.0):
    """Returns the condition's first true value, or fails with `what` after `seconds`."""
    deadline = time.monotonic() + seconds * PATIENCE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds * PATIENCE:g} s: {what}")
        time.sleep(0.01)


def open_gate(path):
    """Lets go who opens the FIFO to read. Nobody there in time is a failure: a plain open() would wait for ever."""
    def opened():
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            return False
        return True
    wait_for(opened, f"somebody to read {path}")
