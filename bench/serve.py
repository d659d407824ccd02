"""Starts a server that is a library: serve.py bjoern|fastpysgi PORT MODULE. Or calls a WSGI application some times, with
no server at all: serve.py alone TIMES MODULE."""

import importlib
import io
import sys


def call_alone(app, times):
    environ = {
        "REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": "/", "QUERY_STRING": "", "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000", "SERVER_PROTOCOL": "HTTP/1.1", "HTTP_HOST": "127.0.0.1:8000", "REMOTE_ADDR": "127.0.0.1",
        "wsgi.version": (1, 0), "wsgi.url_scheme": "http", "wsgi.errors": sys.stderr, "wsgi.input": io.BytesIO(),
        "wsgi.multithread": False, "wsgi.multiprocess": False, "wsgi.run_once": False}

    def start_response(status, headers, exc_info=None):
        pass

    for _ in range(times):
        result = app(environ.copy(), start_response)
        for _ in result:
            pass
        if hasattr(result, "close"):
            result.close()


def main():
    server, port, module = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    app = importlib.import_module(module).app
    if server == "bjoern":
        import bjoern

        bjoern.run(app, "127.0.0.1", port)
    elif server == "fastpysgi":
        import fastpysgi

        fastpysgi.run(app, host="127.0.0.1", port=port, loglevel=0, workers=1)
    elif server == "alone":
        call_alone(app, int(sys.argv[2]))
    else:
        sys.exit(f"serve.py: {server} is unknown")


if __name__ == "__main__":
    main()
