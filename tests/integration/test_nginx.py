"""Behind nginx, with the configuration of examples/nginx: whatever happens to the site, nobody gets a 502 or 504."""

import pytest

from harness import free_port, greenctl
from http_client import Connection
from load import Load
from nginx import Nginx
from waiting import wait_for


@pytest.fixture(params=["unix", "tcp"])
def proxied(request, site, bus):
    """greend with nginx before it."""
    bind = f"127.0.0.1:{free_port()}" if request.param == "tcp" else None
    greend = site.start("--max-lifetime=2s", bind=bind, bus=bus.address)
    nginx = Nginx(site.folder, greend.address)
    yield nginx
    nginx.stop()


def test_reloads_scalings_recycling_and_a_reexec_show_no_502_to_the_clients_of_nginx(site, bus, proxied):
    site.answering("one")
    with Load(proxied.address, clients=6, methods=("GET", "POST", "POST")) as load:
        for verb in (("reload", site.name), ("scale", site.name, 6), ("reexec", site.name), ("scale", site.name, 1),
                     ("reload", site.name)):
            done = greenctl(*verb, bus=bus)
            assert done.returncode == 0, done.stderr
        site.started[0].wait_log(r"\(max_lifetime\)", 20)
        answered = load.answered
        # As long as workers that drain keep connections that nginx thinks are good.
        wait_for(lambda: load.answered > answered + 500, "load goes on", 30)
        wait_for(lambda: {worker["State"] for worker in bus.workers(site.name).values()} == {"serving"}, "the end of every drain", 30)
    assert load.failures == {}, (load.samples, proxied.log())
    assert load.answered > 500


def test_nginx_keeps_connections_and_the_application_sees_the_client(site, bus, proxied):
    site.code("""
        def app(environ, start_response):
            start_response("200 OK", [])
            said = [environ[name] for name in ("HTTP_HOST", "REMOTE_ADDR", "wsgi.url_scheme", "SERVER_PROTOCOL")]
            return [" ".join(said).encode()]
    """)
    assert greenctl("reload", site.name, bus=bus).returncode == 0
    connection = Connection(proxied.address)
    for _ in range(3):
        reply = connection.ask("GET", "/", None, {"Host": "shop.example:8080"})
        assert reply.text == "shop.example:8080 127.0.0.1 http HTTP/1.1"
    connection.close()
    kept = sum(worker["Connections"] for worker in bus.workers(site.name).values())
    assert 1 <= kept <= 2, "one connection from each process of nginx at most, and still open"
