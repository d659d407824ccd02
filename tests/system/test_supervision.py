"""What is wedged, and what systemd, greend and the clients see of it; and greend replaced in place."""

import shutil

import pytest

from load import Load
from waiting import wait_for

WATCHDOG = "[Service]\nWatchdogSec=4s\nTimeoutAbortSec=3s\n"


def zygote(site):
    """greend's child that no worker is: it has workers' parent, and answers nothing."""
    workers = site.worker_pids(2)
    children = site.host.run("ps", "-o", "pid=", "--ppid", site.main_pid()).stdout.split()
    return next(int(pid) for pid in children if int(pid) not in workers)


def test_a_wedged_greend_is_restarted_by_the_watchdog_and_nobody_is_refused(site):
    site.drop_in(site.service, WATCHDOG)
    site.start()
    wedged = site.main_pid()
    with Load(site.address, clients=2) as load:
        site.signal("STOP", wedged)
        wait_for(lambda: site.show("NRestarts") == "1" and site.show("ActiveState") == "active", "the restart", 60)
        answered = load.answered
        wait_for(lambda: load.answered > answered + 100, "load goes on", 20)
    assert site.main_pid() != wedged
    assert not set(load.failures) & {"refused", "timeout", "5xx"}, load.samples
    site.wait_journal("atchdog timeout")


def test_workers_that_are_all_wedged_are_replaced_without_a_restart(site):
    site.drop_in(site.service, WATCHDOG)
    site.config("timeout = 2\n")
    site.start()
    greend, wedged = site.main_pid(), site.worker_pids(2)
    for pid in wedged:
        site.signal("STOP", pid)
    assert site.get("/", timeout=30).text == "one"
    wait_for(lambda: not wedged & site.worker_pids(2), "other workers", 30)
    assert site.main_pid() == greend and site.show("NRestarts") == "0"
    site.wait_journal("has not responded for")


def test_a_wedged_zygote_is_replaced_by_another_generation_without_a_restart(site):
    site.drop_in(site.service, WATCHDOG)
    site.start()
    greend, wedged = site.main_pid(), zygote(site)
    site.signal("STOP", wedged)
    with Load(site.address, clients=2) as load:
        site.greenctl("scale", "--no-block", site.name, 3)
        site.wait_status("generation 2: 3 workers ready", 60)
    assert load.failures == {}, load.samples
    assert site.is_gone(wedged)
    assert site.main_pid() == greend and site.show("NRestarts") == "0"
    site.wait_journal("does not fork; killing it")


@pytest.fixture
def installed(host):
    """/usr/sbin/greend, put back as it was."""
    path = host.path("/usr/sbin/greend")
    kept = path.with_name("greend.kept")
    shutil.copy2(path, kept)
    yield path
    kept.rename(path)


def replace(path, text=None):
    new = path.with_name("greend.new")
    if text is None:
        shutil.copy2(path.with_name("greend.kept"), new)
    else:
        new.write_text(text)
    new.chmod(0o755)
    new.rename(path)


def test_greend_is_replaced_in_place_and_systemd_sees_one_service(site, installed):
    site.drop_in(site.service, WATCHDOG)
    site.start()
    started, workers = site.main_pid(), site.worker_pids(2)
    inode = site.host.run("stat", "-Lc", "%i", f"/proc/{started}/exe").stdout
    with Load(site.address, clients=4) as load:
        wait_for(lambda: load.answered > 100, "load is under way")
        for _ in range(3):
            replace(installed)
            done = site.greenctl("reexec", site.name)
            assert "took over" in done.stdout
        answered = load.answered
        wait_for(lambda: load.answered > answered + 100, "load goes on")
    assert load.failures == {}, load.samples
    print(f"3 re-execs: {load.answered} requests, the longest took {load.longest * 1000:.0f} ms")
    assert site.host.run("stat", "-Lc", "%i", f"/proc/{started}/exe").stdout != inode
    assert site.main_pid() == started and site.show("NRestarts") == "0"
    assert not workers & site.worker_pids(2)
    watched = site.show("WatchdogTimestampMonotonic")
    wait_for(lambda: int(site.show("WatchdogTimestampMonotonic")) > int(watched) + 5_000_000, "the watchdog to be fed", 20)
    site.wait_active()
    assert site.main_pid() == started
    assert site.systemctl("reload", site.service).returncode == 0
    site.systemctl("stop", site.service)
    assert site.show("Result") == "success"


def test_an_upgrade_of_the_package_replaces_every_running_site_and_names_those_it_can_not(host, site, installed):
    from conftest import Site
    other = Site(host)
    try:
        site.start()
        other.start()
        started = {one: (one.main_pid(), one.worker_pids(2)) for one in (site, other)}
        other.edit('TEXT = "one"', 'raise RuntimeError("half an edit")')
        with Load(site.address, clients=2) as load, Load(other.address, clients=2) as load_of_other:
            replace(installed)
            done = host.run("/usr/libexec/green/upgrade-sites", check=False)
        assert done.returncode == 1 and "took over" in done.stdout and "half an edit" in done.stderr
        assert load.failures == load_of_other.failures == {}, load.samples + load_of_other.samples
        for one, (pid, workers) in started.items():
            assert one.main_pid() == pid and one.show("NRestarts") == "0"
            assert bool(workers & one.worker_pids(2)) == (one is other)
    finally:
        other.clean_up()


def test_an_upgrade_of_the_package_reaches_a_site_that_is_reloading(host, site, installed):
    site.start()
    site.edit("app = Flask", "time.sleep(3)\napp = Flask")
    site.systemctl("reload", "--no-block", site.service)
    wait_for(lambda: site.show("ActiveState") == "reloading", "the reload to have begun")
    replace(installed)
    done = host.run("/usr/libexec/green/upgrade-sites", check=False)
    assert done.returncode == 0 and "took over" in done.stdout, done.stderr


def test_a_greend_that_does_not_start_leaves_the_old_one_and_says_why(site, installed):
    site.start()
    started, workers = site.main_pid(), site.worker_pids(2)
    with Load(site.address, clients=2) as load:
        replace(installed, "#!/bin/sh\necho 'a library is missing' >&2\nexit 127\n")
        done = site.greenctl("reexec", site.name, check=False)
        assert done.returncode == 1
        assert "/usr/sbin/greend can't take over: exit status 127: a library is missing" in done.stderr
    assert load.failures == {}, load.samples
    assert site.main_pid() == started and site.worker_pids(2) == workers
    site.wait_active()
