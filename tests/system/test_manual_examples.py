"""Every example of the manual pages, on a booted systemd, with the guide's shop as the site they speak of."""

import json
import re

import pytest

from host import TOP, VENV_INSIDE
from waiting import wait_for

PAGES = ("green.7", "greenctl.1", "greend.8", "green.toml.5.in", "org.greend1.5")
WSGI = "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'by hand']\n"


def examples():
    """(page, text) of each display of literal text."""
    for page in PAGES:
        displays = re.findall(r"^\.Bd -literal -offset indent\n(.*?)^\.Ed$", (TOP / "man" / page).read_text(), re.DOTALL | re.MULTILINE)
        assert displays, page
        for display in displays:
            yield page, display.replace("\\-", "-")


def is_settings(text):
    return re.match(r"[a-z_]+ = ", text) is not None


@pytest.fixture
def shop(host):
    guide = TOP / "examples/guide"
    for path, text in (("/srv/shop/shop.py", (guide / "shop.py").read_text()), ("/srv/shop/wsgi.py", WSGI),
                       ("/etc/green/shop.toml", (guide / "shop.toml").read_text())):
        host.path(path).parent.mkdir(parents=True, exist_ok=True)
        host.path(path).write_text(text)
    for link in ("/srv/venv", "/srv/shop/venv"):
        host.path(link).symlink_to(VENV_INSIDE)
    yield
    host.run("systemctl", "disable", "--now", "green@shop.socket", "green@shop.service", check=False)
    host.path("/etc/green/shop.toml").unlink()
    for link in ("/srv/venv", "/srv/shop/venv"):
        host.path(link).unlink()


def serves_until_stopped(host, command):
    """greend itself, in the foreground."""
    process = host.start("sh", "-c", f"cd /srv/shop && echo $$ >/tmp/by-hand.pid && exec {command}")
    try:
        address = re.search(r"--bind (\S+)", command)[1]
        wait_for(lambda: host.run("curl", "--silent", f"http://{address}/", check=False).stdout == "by hand", command)
    finally:
        # Of its own PID namespace, where nsenter(1) that we started is not.
        host.run("kill", host.path("/tmp/by-hand.pid").read_text().strip())
        output, _ = process.communicate(timeout=20)
    assert process.returncode == 0, output


def is_settled(host):
    shown = host.run("greenctl", "status", "--json=short", "shop", check=False)
    return shown.returncode != 0 or json.loads(shown.stdout)["draining_workers"] == 0


def test_every_example_of_the_manual_pages_works(host, shop):
    tried = {page: 0 for page in PAGES}
    for page, text in examples():
        if is_settings(text):
            host.path("/etc/green/example.toml").write_text(text)
            checked = host.run("greend", "--site", "example", "--check-config", check=False)
            assert checked.returncode == 0, f"{page}:\n{text}\n{checked.stderr}"
            host.path("/etc/green/example.toml").unlink()
            tried[page] += 1
            continue
        for command in text.splitlines():
            if command.startswith("greend --bind"):
                serves_until_stopped(host, command)
            else:
                done = host.run("sh", "-c", f"cd /srv/shop && {command}", check=False)
                assert done.returncode == 0, f"{page}: {command}\n{done.stdout}{done.stderr}"
            # Old workers that still go would be gone when the next example asks them something.
            wait_for(lambda: is_settled(host), f"the site is settled after {command}", 30)
            tried[page] += 1
    assert all(tried.values()) and sum(tried.values()) >= 24, tried
