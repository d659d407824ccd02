"""green@.service and green@.socket under a real systemd: starting, stopping, being supervised."""

import json
import threading
import time
from pathlib import Path

import pytest

from load import Load
from waiting import wait_for


def test_the_first_request_starts_the_service(site):
    site.systemctl("start", site.socket)
    assert site.show("ActiveState") == "inactive"
    assert site.get("/").text == "one"
    site.wait_active()
    assert "generation 1: 2 workers ready" in site.systemctl("status", site.service).stdout


def test_start_waits_for_the_import(site):
    site.edit('TEXT = "one"', 'time.sleep(3)\nTEXT = "one"')
    site.systemctl("start", site.socket)
    begun = time.monotonic()
    site.systemctl("start", site.service)
    assert time.monotonic() - begun >= 3
    assert site.get("/").text == "one"


def test_an_import_longer_than_the_start_timeout_still_starts(site):
    site.edit('TEXT = "one"', 'time.sleep(9)\nTEXT = "one"')
    site.drop_in(site.service, "[Service]\nTimeoutStartSec=4s\n")
    site.start()
    assert site.get("/").text == "one"
    assert site.show("NRestarts") == "0"


def test_stop_finishes_a_request_in_flight(site):
    site.start()
    connection = site.connection()
    connection.request("GET", "/sleep/2")
    wait_for(lambda: '"busy' in site.greenctl("workers", site.name, "--json").stdout, "the request is in the application")
    site.systemctl("stop", site.service)
    reply = connection.getresponse()
    assert (reply.status, reply.read()) == (200, b"slept")
    connection.close()
    assert site.show("Result") == "success"


def test_a_restart_of_the_service_refuses_no_connection(site):
    site.start()
    with Load(site.address, clients=4) as load:
        for _ in range(3):
            answered = load.answered
            site.systemctl("restart", site.service)
            wait_for(lambda: load.answered > answered + 100, "load goes on")
    assert load.failures == {}, load.samples


def test_the_watchdog_restarts_a_stopped_greend_and_the_socket_refuses_nobody(site):
    site.drop_in(site.service, "[Service]\nWatchdogSec=3s\nTimeoutAbortSec=3s\n")
    site.start()
    stopped = site.main_pid()
    with Load(site.address, clients=2) as load:
        site.signal("STOP", stopped)
        wait_for(lambda: site.show("NRestarts") == "1", "systemd to restart it", 40)
        wait_for(lambda: site.show("ActiveState") == "active" and site.main_pid() not in (0, stopped), "it is up again", 40)
        answered = load.answered
        wait_for(lambda: load.answered > answered + 100, "load goes on")
    assert "refused" not in load.failures and "timeout" not in load.failures, load.samples
    site.wait_journal("atchdog")


def test_the_watchdog_is_fed_while_all_is_well(site):
    site.drop_in(site.service, "[Service]\nWatchdogSec=2s\n")
    site.start()
    started = site.main_pid()
    begun = time.monotonic()
    wait_for(lambda: time.monotonic() - begun > 7, "three watchdog periods", 8)
    assert site.main_pid() == started and site.show("NRestarts") == "0"


def test_a_killed_greend_is_restarted_and_leaves_no_worker(site):
    site.start()
    old = site.worker_pids(2)
    site.signal("KILL", site.main_pid())
    wait_for(lambda: site.show("NRestarts") == "1" and site.show("ActiveState") == "active", "the restart", 30)
    assert site.get("/").text == "one"
    assert all(site.is_gone(pid) for pid in old)


def test_a_failed_import_is_tried_again_and_served_once_mended(site):
    good = site.host.path(f"{site.folder}/app.py").read_text()
    site.code("raise RuntimeError('the database is not up yet')")
    site.systemctl("start", site.socket)
    assert site.systemctl("start", site.service, check=False).returncode != 0
    site.wait_journal("RuntimeError: the database is not up yet")
    assert site.show("ActiveState", site.socket) == "active"
    site.code(good)
    wait_for(lambda: site.get("/", timeout=60).text == "one", "the mended site", 30)
    assert site.show("ActiveState", site.socket) == "active"


BAD_CONFIGURATIONS = {
    "missing file": (None, ["No such file"]),
    "unknown key": ("wokers = 2\n", [":5", "wokers", "workers"]),
    "out of bounds": ("workers = -1\n", [":4", "workers", "-1"]),
    "missing application": ("nosuch", ["nosuch"]),
}


def break_configuration(site, which):
    text, expected = BAD_CONFIGURATIONS[which]
    if text is None:
        site.host.path(f"/etc/green/{site.name}.toml").unlink()
    elif text == "nosuch":
        site.config(f'app = "nosuch:app"\nchdir = "{site.folder}"\n', base=False)
    else:
        site.config(text)
    return expected


@pytest.mark.parametrize("which", BAD_CONFIGURATIONS)
def test_a_bad_configuration_is_exit_78_one_line_and_no_restart(site, which):
    expected = break_configuration(site, which)
    site.systemctl("start", site.socket)
    assert site.systemctl("start", site.service, check=False).returncode != 0
    wait_for(lambda: site.show("ActiveState") == "failed", "the end of the start")
    assert site.show("ExecMainStatus") == "78"
    assert site.show("NRestarts") == "0"
    told = [entry["MESSAGE"] for entry in site.journal_entries()
            if entry.get("SYSLOG_IDENTIFIER") == "greend" and int(entry["PRIORITY"]) <= 3]
    assert len(told) == 1, told
    for part in [site.name if which != "missing application" else "nosuch", *expected]:
        assert part in told[0]
    assert site.show("ActiveState", site.socket) == "active"
    site.config("")
    assert site.get("/").text == "one"


def test_a_hundred_clients_a_second_on_a_bad_configuration_get_503_and_start_it_at_most_every_2_s(site):
    break_configuration(site, "unknown key")
    site.systemctl("start", site.socket)
    seen = []
    stopping = threading.Event()

    def knock():
        while not stopping.wait(0.1):
            try:
                seen.append(site.get("/", timeout=10).status)
            except OSError as error:
                seen.append(type(error).__name__)

    clients = [threading.Thread(target=knock) for _ in range(10)]
    for client in clients:
        client.start()
    begun = time.monotonic()
    wait_for(lambda: time.monotonic() - begun > 9, "nine seconds of knocking", 10)
    starts = site.start_times()
    stopping.set()
    for client in clients:
        client.join()
    assert 2 <= len(starts) <= 6, starts
    assert min(later - earlier for earlier, later in zip(starts, starts[1:])) >= 1.9
    assert seen.count(503) > 200
    assert "ConnectionRefusedError" not in seen
    assert site.show("ActiveState", site.socket) == "active"
    site.config("")
    wait_for(lambda: site.get("/").status == 200, "the mended site", 10)


def test_workers_hold_nothing_of_the_service(site):
    site.start()
    process = json.loads(site.get("/process").text)
    names = process["environment"]
    assert not [name for name in names if name.startswith(("NOTIFY_", "LISTEN_", "WATCHDOG_", "DBUS_"))]
    main = site.host.path(f"/proc/{site.main_pid()}/fd")
    of_greend = {str(Path(entry).readlink()) for entry in main.iterdir() if str(Path(entry).readlink()).startswith("socket:")}
    of_worker = {name for name in process["descriptors"].values() if name.startswith("socket:")}
    # Standard output and error are the journal's stream, one socket; the listening socket is the other.
    shared = of_greend & of_worker
    streams = {process["descriptors"].get(number) for number in ("0", "1", "2")}
    assert len(shared - streams) == 1, process["descriptors"]


def test_tcp_of_both_kinds_is_a_drop_in(site):
    site.drop_in(site.socket, "[Socket]\nListenStream=127.0.0.1:8123\nListenStream=[::1]:8123\n")
    site.systemctl("start", site.socket)
    for url in ("http://127.0.0.1:8123/", "http://[::1]:8123/"):
        asked = site.host.run("/usr/bin/python3", "-c", f"import urllib.request as u; print(u.urlopen('{url}').read().decode())")
        assert asked.stdout == "one\n"
    assert site.get("/").text == "one"


def test_another_user_is_a_drop_in_and_still_has_the_bus(site):
    site.drop_in(site.service, "[Service]\nUser=www-data\n")
    site.start()
    owner = site.host.run("ps", "-o", "user=", "-p", site.main_pid()).stdout.strip()
    assert owner == "www-data"
    assert site.greenctl("status", site.name).returncode == 0
    assert site.get("/").text == "one"


def test_sites_are_independent(host, site):
    from conftest import Site
    other = Site(host)
    try:
        other.edit('TEXT = "one"', 'TEXT = "other"')
        site.start()
        other.start()
        assert (site.get("/").text, other.get("/").text) == ("one", "other")
        site.systemctl("stop", site.service)
        assert other.get("/").text == "other"
    finally:
        other.clean_up()


def test_the_units_are_without_fault(host):
    done = host.run("systemd-analyze", "verify", *(f"/usr/lib/systemd/system/green@site.{kind}" for kind in ("service", "socket")), check=False)
    about_green = [line for line in (done.stdout + done.stderr).splitlines() if "green" in line]
    assert about_green == []


def test_greend_needs_no_libpython(host):
    libraries = host.run("ldd", "/usr/sbin/greend").stdout
    assert "libsystemd" in libraries and "python" not in libraries
