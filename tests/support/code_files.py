"""Files of Python code that a test changes."""


def replace_code(path, text):
    """Writes `text` in the place of the old file at once: a reload never sees half of it."""
    new = path.with_name(path.name + ".new")
    new.write_text(text)
    new.chmod(0o644)
    new.rename(path)
