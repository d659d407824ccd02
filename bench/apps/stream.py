"""1 MiB from a generator, 64 chunks of 16 KiB, its length not told."""

CHUNK = b"x" * 16 * 1024


def chunks():
    for _ in range(64):
        yield CHUNK


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return chunks()
