"""Starts under pressure: imports that are slow, and imports that fail now and then."""


def test_a_slow_import_extends_the_start_timeout_and_the_status_says_what_goes_on(site):
    site.edit('TEXT = "one"', 'time.sleep(12)\nTEXT = "one"')
    site.drop_in(site.service, "[Service]\nTimeoutStartSec=3s\nWatchdogSec=4s\n")
    site.systemctl("start", site.socket)
    site.systemctl("start", "--no-block", site.service)
    site.wait_status("starting generation 1: importing app:app")
    assert site.show("ActiveState") == "activating"
    assert site.get("/", timeout=60).text == "one", "the connection waited in the socket"
    assert site.show("ActiveState") == "active" and site.show("NRestarts") == "0"


def test_an_import_that_fails_at_random_is_tried_again_until_it_works_and_the_socket_stays(site):
    good = site.host.path(f"{site.folder}/app.py").read_text()
    count = f"/var/lib/green/{site.name}/tries"
    site.code(f"""
        with open("{count}", "a+") as tries:
            tries.write(".")
            tries.seek(0)
            if len(tries.read()) < 8:
                raise RuntimeError("not this time")
    """)
    code = site.host.path(f"{site.folder}/app.py").read_text()
    site.code(code + "\n" + good)
    site.systemctl("start", site.socket)
    assert site.get("/", timeout=120).text == "one"
    assert site.host.path(count).read_text() == "." * 8
    assert site.show("NRestarts") == "7"
    assert site.show("ActiveState") == "active" and site.show("ActiveState", site.socket) == "active"
    assert site.journal().count("RuntimeError: not this time") >= 7
