"""A reload is a transaction: the new code serves when it is over, or the old code never stopped."""

import os
import signal

import pytest

from harness import greenctl, is_gone
from load import Load
from waiting import wait_for

BROKEN = "def broken():\n    raise RuntimeError('half an edit')\nbroken()\n"


def test_a_reload_brings_the_new_code_and_loses_nothing(site, bus):
    site.answering("one")
    greend = site.start(bus=bus.address)
    with Load(greend.address, clients=4) as load:
        for text in ("two", "three"):
            site.answering(text)
            done = greenctl("reload", site.name, bus=bus)
            assert done.returncode == 0, done.stderr
            assert {greend.get("/").text for _ in range(20)} == {text}
    assert load.failures == {}, load.samples
    assert set(load.bodies) == {"one", "two", "three"}
    greend.wait_status("generation 3: 2 workers ready")


def test_edits_of_one_size_and_one_second_are_each_taken(site, bus):
    """What a compiled file of Python's can't tell apart (size and whole seconds) a reload must."""
    site.answering("one")
    moment = int(os.stat(site.folder / "app.py").st_mtime)
    os.utime(site.folder / "app.py", (moment, moment))
    greend = site.start(bus=bus.address)
    for text in ("two", "six"):
        site.answering(text)
        os.utime(site.folder / "app.py", (moment, moment))
        assert greenctl("reload", site.name, bus=bus).returncode == 0
        assert greend.get("/").text == text


def test_broken_code_is_refused_with_its_traceback_while_the_old_serves_on(site, bus):
    site.answering("one")
    greend = site.start(bus=bus.address)
    workers = {worker["PID"] for worker in bus.workers(site.name).values()}
    with Load(greend.address, clients=2) as load:
        site.code(BROKEN)
        done = greenctl("reload", site.name, bus=bus)
        assert done.returncode == 1
        assert "RuntimeError: half an edit" in done.stderr + done.stdout
        assert "app.py" in done.stderr + done.stdout
        greend.wait_log("RuntimeError: half an edit")
        assert greend.get("/").text == "one"
        assert {worker["PID"] for worker in bus.workers(site.name).values()} == workers
        assert bus.get(site.name, "LastReloadResult") == "failed"
        site.answering("mended")
        assert greenctl("reload", site.name, bus=bus).returncode == 0
        assert greend.get("/").text == "mended"
        assert bus.get(site.name, "LastReloadResult") == "done"
    assert load.failures == {}, load.samples


def test_sighup_reloads(site):
    site.answering("one")
    greend = site.start()
    site.answering("two")
    greend.send(signal.SIGHUP)
    wait_for(lambda: greend.get("/").text == "two", "the new code")
    greend.wait_status("generation 2: 2 workers ready")


@pytest.mark.parametrize("code", [None, BROKEN], ids=["good code", "broken code"])
def test_the_service_manager_hears_of_a_reload_and_of_its_end(site, code):
    site.answering("one")
    greend = site.start()
    if code:
        site.code(code)
    greend.send(signal.SIGHUP)
    begun = greend.notify.wait_field("RELOADING=1")
    assert int(begun.get("MONOTONIC_USEC")) > 0, "newer systemd waits for it in the same datagram"
    ended = greend.notify.wait(lambda d: "READY=1" in d.fields and d.when > begun.when, "READY=1 after RELOADING=1")
    assert ended.when >= begun.when
    assert greend.get("/").status == 200


def test_a_bad_configuration_is_refused_by_a_reload(site, bus):
    greend = site.start(bus=bus.address)
    site.config("app = 'app:app'\nwokers = 3\n")
    done = greenctl("reload", site.name, bus=bus)
    assert done.returncode == 1
    assert f"{site.name}.toml:2" in done.stderr and "wokers" in done.stderr
    assert greend.get("/").status == 200


def test_a_reload_reads_the_configuration_again(site, bus):
    greend = site.launch(f"--config={site.config(APP_WITH.format(2))}", f"--bind=unix:{site.folder}/s", f"--bus={bus.address}")
    greend.address = f"{site.folder}/s"
    greend.wait_ready()
    site.config(APP_WITH.format(3))
    assert greenctl("reload", site.name, bus=bus).returncode == 0
    assert len(greend.worker_pids(3)) == 3


APP_WITH = "app = 'app:app'\nworkers = {}\n"


def test_a_failing_probe_is_refused(site, bus):
    site.answering("one")
    greend = site.start("--probe=/health", bus=bus.address)
    site.code("""
        def app(environ, start_response):
            if environ["PATH_INFO"] == "/health":
                raise KeyError("no such table")
            start_response("200 OK", [])
            return [b"two"]
    """)
    done = greenctl("reload", site.name, bus=bus)
    assert done.returncode == 1
    assert "no such table" in done.stderr + done.stdout
    assert greend.get("/").text == "one"


def test_requests_in_flight_are_finished_by_the_old_code(site, bus):
    greend = site.start("--timeout=20", bus=bus.address, workers=1)
    connection = greend.connection()
    connection.request("GET", "/sleep?s=2")
    wait_for(lambda: bus.get(site.name, "BusyWorkers") == 1, "the request is in the application")
    old = bus.workers(site.name).popitem()[1]["PID"]
    site.answering("two")
    assert greenctl("reload", site.name, bus=bus).returncode == 0
    assert greend.get("/").text == "two"
    assert connection.getresponse().read() == b"slept"
    connection.close()
    wait_for(lambda: is_gone(old), "the old worker's end")


def test_a_keep_alive_connection_is_told_of_the_close(site, bus):
    greend = site.start(bus=bus.address, workers=1)
    connection = greend.connection()
    assert connection.ask("GET", "/").headers.get("connection", "keep-alive").lower() != "close"
    connection.request("GET", "/sleep?s=1")
    wait_for(lambda: bus.get(site.name, "BusyWorkers") == 1, "the request is in the application")
    greenctl("reload", "--no-block", site.name, bus=bus)
    greend.wait_status("generation 2")
    reply = connection.getresponse()
    assert reply.read() == b"slept"
    connection.close()


def test_old_processes_are_gone_after_a_reload(site, bus):
    greend = site.start(bus=bus.address)
    old = set(greend.children())
    assert greenctl("reload", site.name, bus=bus).returncode == 0
    wait_for(lambda: all(is_gone(pid) for pid in old), "the end of zygote and workers of generation 1")
    wait_for(lambda: not greend.zombies(), "no zombie")


def test_many_reloads_at_once_end_and_leave_one_generation(site, bus):
    greend = site.start(bus=bus.address)
    for _ in range(20):
        greend.send(signal.SIGHUP)
        assert greenctl("reload", "--no-block", site.name, bus=bus).returncode == 0
    assert greenctl("reload", site.name, bus=bus).returncode == 0
    wait_for(lambda: bus.get(site.name, "State") == "serving", "the end of all reloads", 30)
    wait_for(lambda: len(greend.children()) == 3, "one zygote and two workers", 20)
    assert os.path.exists(f"/proc/{greend.pid}")


def test_a_crash_of_the_new_zygote_during_a_reload_is_a_failed_reload(site, bus):
    site.answering("one")
    greend = site.start(bus=bus.address)
    site.code("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    done = greenctl("reload", site.name, bus=bus)
    assert done.returncode == 1
    assert greend.get("/").text == "one"
