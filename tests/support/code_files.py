"""Files of Python code that a test changes."""

import itertools
import os
import time

_seconds = itertools.count(int(time.time()) - 1_000_000)


def replace_code(path, text):
    """Writes `text` in the place of the old file, with a time of its own.

    Python takes a .pyc for current when the source has the same size and the same time, in whole seconds; two
    edits of a test may come within one.
    """
    new = path.with_name(path.name + ".new")
    new.write_text(text)
    new.chmod(0o644)
    second = next(_seconds)
    os.utime(new, (second, second))
    new.rename(path)
