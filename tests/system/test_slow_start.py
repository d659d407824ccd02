"""Starts under pressure: imports that are slow, imports that fail now and then, a database that is not up yet."""

from waiting import wait_for


def until_served(site, seconds=60):
    """Statuses that a client is answered until it is served."""
    seen = []
    wait_for(lambda: seen.append(site.get("/", timeout=60).status) or seen[-1] == 200, "the site serves", seconds)
    return seen


def test_a_slow_import_extends_the_start_timeout_and_the_status_says_what_goes_on(site):
    site.edit('TEXT = "one"', 'time.sleep(12)\nTEXT = "one"')
    site.drop_in(site.service, "[Service]\nTimeoutStartSec=3s\nWatchdogSec=4s\n")
    site.systemctl("start", site.socket)
    site.systemctl("start", "--no-block", site.service)
    site.wait_status("starting generation 1: importing app:app")
    assert site.show("ActiveState") == "activating"
    assert site.get("/", timeout=60).text == "one", "the connection waited in the socket"
    site.wait_active()
    assert site.show("NRestarts") == "0"


def test_an_import_that_fails_at_random_is_tried_again_until_it_works_and_the_socket_stays(site):
    good = site.host.path(f"{site.folder}/app.py").read_text()
    count = f"/var/lib/green/{site.name}/tries"
    site.code(f"""
        with open("{count}", "a+") as tries:
            tries.write(".")
            tries.seek(0)
            if len(tries.read()) < 5:
                raise RuntimeError("not this time")
    """)
    code = site.host.path(f"{site.folder}/app.py").read_text()
    site.code(code + "\n" + good)
    site.systemctl("start", site.socket)
    assert set(until_served(site)) <= {200, 503}
    assert site.get("/").text == "one"
    assert site.host.path(count).read_text() == "." * 5
    assert site.show("NRestarts") == "4"
    site.wait_active()
    assert site.show("ActiveState", site.socket) == "active"
    wait_for(lambda: site.journal().count("RuntimeError: not this time") >= 4, "four failures in the journal")


def test_a_database_that_is_not_up_yet_is_asked_less_and_less_often_and_the_site_served_once_it_is(site):
    good = site.host.path(f"{site.folder}/app.py").read_text()
    site.code('import socket\nsocket.create_connection(("127.0.0.1", 5499), 2).close()\n' + good)
    # Less than greend waits before its fifth try.
    site.drop_in(site.service, "[Service]\nTimeoutStartSec=3s\n")
    site.systemctl("start", site.socket)
    assert site.systemctl("start", site.service, check=False).returncode != 0, "the first failure is told at once"
    site.wait_status(r"^failed to start 4 times in a row: ConnectionRefusedError: .*; next try in [234] s$", 30)
    assert site.show("ActiveState") == "activating" and site.show("ActiveState", site.socket) == "active"
    reply = site.get("/")
    assert reply.status == 503 and reply.text == "The site does not start at the moment (green).\n"
    site.wait_status(r"^failed to start 5 times in a row: .*; next try in [78] s$", 30)
    database = "import signal, socket; signal.alarm(90); s = socket.create_server(('127.0.0.1', 5499))\nwhile True: s.accept()[0].close()"
    listening = site.host.start("/usr/bin/python3", "-c", database)
    until_served(site)
    listening.kill()
    assert site.get("/").text == "one"
    starts = site.start_times()
    pauses = [later - earlier for earlier, later in zip(starts, starts[1:])]
    assert len(pauses) == 5, pauses
    for pause, wait in zip(pauses, (0, 1, 2, 4, 8)):
        # RestartSec= is 1 s; the rest is what a start takes.
        assert wait + 0.9 < pause < wait + 5, pauses
    site.wait_active()
    assert site.show("Result") == "success"
    wait_for(lambda: site.show("NFileDescriptorStore") == "0", "the failures to be forgotten")


def test_a_restart_by_hand_ends_the_wait_and_tries_at_once(site):
    good = site.host.path(f"{site.folder}/app.py").read_text()
    site.code("raise RuntimeError('half an edit')")
    site.systemctl("start", site.socket)
    site.systemctl("start", site.service, check=False)
    site.wait_status(r"^failed to start [56] times in a row", 60)
    site.code(good)
    site.systemctl("restart", site.service, seconds=4)
    assert site.get("/").text == "one"
    assert site.show("NFileDescriptorStore") == "0"
