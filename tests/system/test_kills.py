"""Restarts and SIGKILL under load: the sockets stay with systemd, and nobody is refused. What fails is what the
killed processes held, no more."""

import pytest

from load import LOST_WITH_ITS_PROCESS, Load
from waiting import wait_for

CLIENTS = 8
RESTARTS = 20
KILLS = 5


@pytest.fixture
def served(site):
    site.config("workers = 4\nkeepalive = 2\n")
    site.start()
    return site


def children(site, greend):
    return {int(pid) for pid in site.host.run("ps", "-o", "pid=", "--ppid", greend, check=False).stdout.split()}


def goes_on(load, requests=100):
    answered = load.answered
    wait_for(lambda: load.answered > answered + requests, "load goes on", 30)


def told(what, times, load):
    print(f"{what} × {times}: {load.answered} answered, lost {load.failures}, the longest took {load.longest * 1000:.0f} ms")


def test_twenty_restarts_lose_nothing(served):
    with Load(served.address, clients=CLIENTS, methods=("GET", "POST")) as load:
        for _ in range(RESTARTS):
            served.systemctl("restart", served.service)
            goes_on(load)
    told("restart", RESTARTS, load)
    assert load.failures == {}, load.samples
    assert served.show("NRestarts") == "0"


def test_a_killed_greend_costs_what_its_workers_held_and_no_more(served):
    with Load(served.address, clients=CLIENTS, methods=("GET", "POST")) as load:
        for kill in range(KILLS):
            goes_on(load)
            served.signal("KILL", served.main_pid())
            wait_for(lambda kill=kill: served.show("NRestarts") == str(kill + 1) and served.show("ActiveState") == "active", "the restart", 30)
        goes_on(load)
    told("SIGKILL of greend", KILLS, load)
    assert set(load.failures) <= LOST_WITH_ITS_PROCESS, load.samples
    assert sum(load.failures.values()) <= CLIENTS * KILLS, load.samples


def test_a_killed_zygote_costs_nothing(served):
    greend = served.main_pid()
    with Load(served.address, "/pid", clients=CLIENTS, methods=("GET",)) as load:
        for kill in range(KILLS):
            served.wait_status(rf"generation {kill + 1}: 4 workers ready$")
            goes_on(load)
            found = children(served, greend) - set(map(int, served.host.run("pgrep", "-P", greend, "-f", "worker [0-9]").stdout.split()))
            assert len(found) == 1, found
            served.signal("KILL", found.pop())
        served.wait_status(rf"generation {KILLS + 1}: 4 workers ready$")
        goes_on(load)
    told("SIGKILL of the zygote", KILLS, load)
    assert load.failures == {}, load.samples
    assert served.main_pid() == greend and served.show("NRestarts") == "0"


def test_all_workers_killed_at_once_cost_what_they_held_and_no_more(served):
    greend = served.main_pid()
    with Load(served.address, clients=CLIENTS, methods=("GET", "POST")) as load:
        for _ in range(KILLS):
            served.wait_status(r"^generation 1: 4 workers ready$")
            goes_on(load)
            victims = served.host.run("pgrep", "-P", greend, "-f", "worker [0-9]").stdout.split()
            assert len(victims) == 4
            served.host.run("kill", "-KILL", *victims)
            wait_for(lambda victims=victims: not children(served, greend) & set(map(int, victims)), "their end")
        goes_on(load)
    told("SIGKILL of all workers", KILLS, load)
    assert set(load.failures) <= LOST_WITH_ITS_PROCESS, load.samples
    assert sum(load.failures.values()) <= CLIENTS * KILLS, load.samples
    assert served.main_pid() == greend and served.show("NRestarts") == "0"
