"""Starts a server that is a library: serve.py bjoern|fastpysgi PORT MODULE."""

import importlib
import sys


def main():
    server, port, module = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    app = importlib.import_module(module).app
    if server == "bjoern":
        import bjoern

        bjoern.run(app, "127.0.0.1", port)
    elif server == "fastpysgi":
        import fastpysgi

        fastpysgi.run(app, host="127.0.0.1", port=port, loglevel=0, workers=1)
    else:
        sys.exit(f"serve.py: {server} is unknown")


if __name__ == "__main__":
    main()
