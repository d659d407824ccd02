"""Says hello, or sends 1 MiB at /large. Uploads are read."""

HELLO = b"Hello, world!\n"
LARGE = b"x" * 1024 * 1024


def app(environ, start_response):
    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    body = LARGE if environ["PATH_INFO"] == "/large" else HELLO
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
