"""Steering a site on the system bus: greenctl, systemctl reload, and workers that fail, under load."""

import json

import pytest

from load import LOST_WITH_ITS_PROCESS, Load
from waiting import wait_for

BREAK = ('TEXT = "one"', 'raise RuntimeError("half an edit")')


def test_scaling_under_load_loses_no_request(site):
    site.start()
    with Load(site.address, clients=4) as load:
        for count in (8, 2):
            site.greenctl("scale", site.name, count)
            assert len(site.worker_pids(count)) == count
        answered = load.answered
        wait_for(lambda: load.answered > answered + 200, "load goes on")
    assert load.failures == {}, load.samples
    site.wait_status("2 workers ready")


def test_a_killed_worker_is_replaced_and_only_its_own_request_may_fail(site):
    site.start()
    with Load(site.address, "/pid", clients=4) as load:
        wait_for(lambda: load.answered > 100, "load is under way")
        victim = site.worker_pids(2).pop()
        site.signal("KILL", victim)
        wait_for(lambda: site.is_gone(victim), "its end")
        wait_for(lambda: victim not in (pids := site.worker_pids(2)) and len(pids) == 2, "two workers", 20)
        answered = load.answered
        wait_for(lambda: load.answered > answered + 200, "load goes on")
    assert set(load.failures) <= LOST_WITH_ITS_PROCESS and sum(load.failures.values()) <= 4, load.samples


def test_a_stopped_worker_is_replaced_after_the_timeout(site):
    site.config("timeout = 2\n")
    site.start()
    victim = site.worker_pids(2).pop()
    site.signal("STOP", victim)
    wait_for(lambda: site.is_gone(victim), "its end", 20)
    site.wait_status("2 workers ready")
    assert site.show("NRestarts") == "0"


@pytest.mark.parametrize("command", ["greenctl", "systemctl"])
def test_a_reload_brings_new_code_and_refuses_broken_code(site, command):
    site.start()

    def reload():
        if command == "greenctl":
            return site.greenctl("reload", site.name, check=False)
        return site.systemctl("reload", site.service, check=False)

    good = site.host.path(f"{site.folder}/app.py").read_text()
    started = site.main_pid()
    with Load(site.address, clients=4) as load:
        site.code(good.replace('"one"', '"two"'))
        assert reload().returncode == 0
        assert {site.get("/").text for _ in range(20)} == {"two"}

        site.code(good.replace(*BREAK))
        broken = reload()
        assert broken.returncode != 0
        if command == "greenctl":
            assert "RuntimeError: half an edit" in broken.stdout + broken.stderr
        site.wait_journal("RuntimeError: half an edit")
        assert {site.get("/").text for _ in range(20)} == {"two"}
        site.wait_active()

        site.code(good.replace('"one"', '"three"'))
        assert reload().returncode == 0
        assert {site.get("/").text for _ in range(20)} == {"three"}
    assert load.failures == {}, load.samples
    assert site.main_pid() == started
    site.wait_active()


def test_a_traceback_is_one_entry_of_the_journal(site):
    site.start()
    good = site.host.path(f"{site.folder}/app.py").read_text()
    site.code(good.replace(*BREAK))
    site.greenctl("reload", site.name, check=False)
    entries = wait_for(lambda: [entry for entry in site.journal_entries() if "Traceback" in str(entry["MESSAGE"])
                                and entry.get("SYSLOG_IDENTIFIER") in ("greend", "green-worker")], "the traceback in the journal")
    assert all("RuntimeError: half an edit" in entry["MESSAGE"] for entry in entries)


def test_the_interface_is_on_the_system_bus(site):
    site.start()
    shown = site.host.run("busctl", "introspect", f"org.greend1.{site.name}", "/org/greend1").stdout
    for member in ("org.greend1.Site", ".Reload", ".Scale", ".JobRemoved", ".StatusText", "org.freedesktop.DBus.ObjectManager"):
        assert member in shown
    slots = json.loads(site.host.run(
        "busctl", "--json=short", "call", f"org.greend1.{site.name}", "/org/greend1",
        "org.freedesktop.DBus.ObjectManager", "GetManagedObjects").stdout)["data"][0]
    assert len([path for path in slots if "/worker/" in path]) == 2


def test_the_site_s_own_user_may_look_but_not_steer(site):
    site.start()
    as_green = ["setpriv", "--reuid=green", "--regid=green", "--init-groups"]
    assert site.host.run(*as_green, "greenctl", "status", site.name, check=False).returncode == 0
    for verb in (["reload", site.name], ["scale", site.name, "7"]):
        refused = site.host.run(*as_green, "greenctl", *verb, check=False)
        assert refused.returncode != 0 and refused.stderr
    site.wait_status("2 workers ready")


def test_another_user_may_not_take_a_site_s_name(site):
    taken = site.host.run(
        "setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups",
        "busctl", "call", "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "RequestName",
        "su", f"org.greend1.{site.name}", "4", check=False)
    assert taken.returncode != 0


def test_one_running_site_needs_no_name_and_several_are_listed(host, site):
    from conftest import Site
    site.start()
    host.run("greenctl", "scale", "3")
    assert "3 workers ready" in site.greenctl("status").stdout
    other = Site(host)
    try:
        other.start()
        asked = host.run("greenctl", "scale", "2", check=False)
        assert asked.returncode == 4
        assert site.name in asked.stderr and other.name in asked.stderr
    finally:
        other.clean_up()
