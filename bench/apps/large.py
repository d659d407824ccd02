"""1 MiB in one bytes object."""

BODY = b"x" * 1024 * 1024


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "1048576")])
    return [BODY]
