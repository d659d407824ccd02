"""nginx before a site, with the configuration of examples/nginx; for the integration tests and bench/soak.

Debian's nginx: the installed one, or the one that tools/setup unpacked into build/nginx. It runs as this user, in
the foreground, with all its files in a folder of the caller's.
"""

import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
EXAMPLE = TOP / "examples/nginx/shop.conf"
UNPACKED = TOP / "build/nginx/usr/sbin/nginx"

MAIN = """
daemon off;
master_process on;
worker_processes 2;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log warn;
{user}
events {{ worker_connections 2048; }}
http {{
    access_log off;
    client_body_temp_path {folder}/nginx-body;
    proxy_temp_path {folder}/nginx-proxy;
    fastcgi_temp_path {folder}/nginx-fastcgi;
    uwsgi_temp_path {folder}/nginx-uwsgi;
    scgi_temp_path {folder}/nginx-scgi;
    include {folder}/shop.conf;
}}
"""


def program():
    """Where nginx is, or None."""
    return shutil.which("nginx", path="/usr/sbin:/usr/bin:/sbin:/usr/local/sbin") or (str(UNPACKED) if UNPACKED.exists() else None)


def example(upstream, port):
    """The example with two addresses replaced. `upstream`: a unix socket's path, or (host, port)."""
    where = f"unix:{upstream}" if isinstance(upstream, str) else f"{upstream[0]}:{upstream[1]}"
    text, servers = re.subn(r"^( *server )unix:\S+( max_fails=0;)$", rf"\g<1>{where}\g<2>", EXAMPLE.read_text(), flags=re.MULTILINE)
    text, ports = re.subn(r"^( *listen )80;$", rf"\g<1>127.0.0.1:{port};", text, flags=re.MULTILINE)
    if (servers, ports) != (1, 1):
        raise ValueError(f"{EXAMPLE} has {servers} servers and {ports} ports to replace")
    return text


class Nginx:
    def __init__(self, folder, upstream):
        self.folder = Path(folder)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = probe.getsockname()
        # Only root may name a user; and root's nginx would run as nobody, who can't reach the folder.
        is_root = (Path("/proc/self").stat().st_uid == 0)
        (self.folder / "shop.conf").write_text(example(upstream, self.address[1]))
        (self.folder / "nginx.conf").write_text(MAIN.format(folder=folder, user="user root;" if is_root else ""))
        self.process = subprocess.Popen([program(), "-p", str(folder), "-e", f"{folder}/nginx.log", "-c", f"{folder}/nginx.conf"],
                                        stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(self.address, 5).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    raise RuntimeError(f"nginx did not start:\n{self.log()}") from None
                time.sleep(0.01)

    def log(self):
        path = self.folder / "nginx.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()
