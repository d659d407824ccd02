"""greend is replaced in place: same process, same sockets, same workers until a reload replaces those too."""

import json
import os
import re
import shutil
import subprocess
import threading
import time

import pytest

from harness import BIN, greenctl, is_gone
from load import Load
from waiting import open_gate, wait_for


@pytest.fixture
def programs(tmp_path):
    """A folder of our own with greend and green-worker, which a test may change as an upgrade does."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for name in ("greend", "green-worker"):
        shutil.copy2(BIN / name, folder / name)
    return folder


def install(folder, name, text=None):
    """As a package manager does: a new file in the place of the old."""
    new = folder / (name + ".new")
    if text is None:
        shutil.copy2(BIN / name, new)
    else:
        new.write_bytes(text)
        new.chmod(0o755)
    new.rename(folder / name)


def processes(bus, site):
    return {worker["PID"] for worker in bus.workers(site.name).values()}


def test_greend_and_then_its_workers_are_replaced_and_nothing_is_lost(site, bus, programs):
    site.answering("one")
    greend = site.start(bus=bus.address, programs=programs)
    old, inode = processes(bus, site), os.stat(f"/proc/{greend.pid}/exe").st_ino
    started = bus.get(site.name, "StartedTimestamp")
    with Load(greend.address, clients=4) as load:
        install(programs, "greend")
        site.answering("two")
        done = greenctl("reexec", site.name, bus=bus)
        assert done.returncode == 0, done.stderr
        assert re.fullmatch(r"greend \S+ took over from \S+; generation 2 serves with 2 workers\n", done.stdout)
        assert {greend.get("/").text for _ in range(20)} == {"two"}
        answered = load.answered
        wait_for(lambda: load.answered > answered + 100, "load goes on")
    assert load.failures == {}, load.samples
    assert os.stat(f"/proc/{greend.pid}/exe").st_ino != inode, "another file runs in the same process"
    assert bus.get(site.name, "MainPID") == greend.pid
    assert bus.get(site.name, "StartedTimestamp") == started
    wait_for(lambda: all(is_gone(pid) for pid in old), "the old workers' end")
    wait_for(lambda: not old & processes(bus, site), "greend says so too")
    wait_for(lambda: len(greend.children()) == 3 and not greend.zombies(), "one zygote and two workers")


def test_requests_and_connections_in_flight_are_untouched(site, bus, programs):
    greend = site.start("--timeout=20", bus=bus.address, programs=programs)
    sleeping, kept = greend.connection(), greend.connection()
    assert kept.ask("GET", "/").status == 200
    sleeping.request("GET", "/sleep?s=2")
    wait_for(lambda: bus.get(site.name, "BusyWorkers") == 1, "the request is in the application")
    assert greenctl("reexec", site.name, bus=bus).returncode == 0
    reply = sleeping.getresponse()
    assert (reply.status, reply.read()) == (200, b"slept")
    assert kept.ask("GET", "/").status == 200
    sleeping.close()
    kept.close()


def test_a_replaced_greend_does_all_that_it_did(site, bus, programs):
    site.answering("one")
    greend = site.start(bus=bus.address, programs=programs)
    for _ in range(3):
        assert greenctl("reexec", site.name, bus=bus).returncode == 0
    descriptors = len(os.listdir(f"/proc/{greend.pid}/fd"))
    assert greenctl("reexec", site.name, bus=bus).returncode == 0
    wait_for(lambda: len(os.listdir(f"/proc/{greend.pid}/fd")) <= descriptors, "no descriptor is left behind")
    assert greenctl("scale", site.name, 4, bus=bus).returncode == 0
    # Not one that still drains, and may be gone by now.
    victim = next(worker["PID"] for worker in bus.workers(site.name).values() if worker["State"] == "serving")
    os.kill(victim, 9)
    wait_for(lambda: victim not in processes(bus, site) and bus.get(site.name, "ReadyWorkers") == 4, "its replacement")
    site.answering("two")
    assert greenctl("reload", site.name, bus=bus).returncode == 0
    assert greend.get("/").text == "two"
    assert greend.stop() == 0
    assert not os.path.exists(greend.address), "a socket of its own goes with it"


BROKEN = {
    "garbage": (b"no program\n", "Exec format error"),
    "fails": (b"#!/bin/sh\necho broken on purpose >&2\nexit 3\n", "exit status 3: broken on purpose"),
    "crashes": (b"#!/bin/sh\nkill -SEGV $$\n", "signal 11 (SEGV)"),
    "another format": (b"#!/bin/sh\nsed 's/\"format\":[0-9]*/\"format\":99/' /proc/$$/fd/3 >$0.state\n"
                       b"exec 3<$0.state\nexec $0.good \"$@\"\n", "state is of format 99"),
    "a setting less": ((BIN / "greend").read_bytes().replace(b"websocket_compression", b"websocket_compressiom"),
                       'unknown setting "websocket_compression"'),
    "an option less": (b"#!/bin/sh\nexec $0.good --dropped \"$@\"\n", "--dropped: no such option"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_greend_that_can_not_take_over_leaves_the_old_one_running(site, bus, programs, how):
    site.answering("one")
    greend = site.start(bus=bus.address, programs=programs)
    old = processes(bus, site)
    text, told = BROKEN[how]
    with Load(greend.address, clients=2) as load:
        install(programs, "greend", text)
        shutil.copy2(BIN / "greend", programs / "greend.good")
        done = greenctl("reexec", site.name, bus=bus)
        assert done.returncode == 1
        assert told in done.stderr and str(programs / "greend") in done.stderr
        assert "what served before still serves" in done.stderr
        assert processes(bus, site) == old and bus.get(site.name, "MainPID") == greend.pid
        site.answering("two")
        assert greenctl("reload", site.name, bus=bus).returncode == 0
        assert greend.get("/").text == "two"
        install(programs, "greend")
        assert greenctl("reexec", site.name, bus=bus).returncode == 0
    assert load.failures == {}, load.samples


def test_a_reexec_whose_greend_ends_and_is_started_anew_has_failed(site, bus, programs):
    site.answering("one")
    greend = site.start(bus=bus.address, programs=programs)
    shutil.copy2(BIN / "greend", programs / "greend.good")
    install(programs, "greend", b"#!/bin/sh\ncase \"$*\" in *--check-*) exec $0.good \"$@\";; esac\nexit 3\n")
    reexec = subprocess.Popen(
        [BIN / "greenctl", f"--bus={bus.address}", "reexec", site.name], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert greend.process.wait(30) == 3
    install(programs, "greend")
    other = site.start(bus=bus.address, programs=programs)  # as the service manager does
    out, err = reexec.communicate(timeout=30)
    assert (reexec.returncode, out) == (1, "")
    assert err == f"greenctl: {site.name} was restarted during reexec; see: journalctl -u green@{site.name}.service\n"
    assert other.get("/").text == "one"


def test_a_scale_that_is_waited_for_outlives_a_reexec(site, bus, programs):
    site.answering("one")
    greend = site.start("--preload=off", bus=bus.address, programs=programs)
    loading, gate = site.folder / "loading", site.folder / "gate"
    os.mkfifo(gate)
    site.code(f"open({str(loading)!r}, 'w').close()\nopen({str(gate)!r}).close()\n")
    scale = subprocess.Popen([BIN / "greenctl", f"--bus={bus.address}", "scale", site.name, "3"], stdout=subprocess.PIPE, text=True)
    wait_for(loading.exists, "the third worker to load the application")
    site.answering("two")
    reexec = greenctl("reexec", site.name, bus=bus)
    assert reexec.returncode == 0 and reexec.stdout.endswith("generation 2 serves with 3 workers\n"), reexec.stderr
    assert scale.communicate(timeout=30)[0] == "3 workers serve\n"
    assert greend.get("/").text == "two"


def test_a_drain_during_a_reexec_is_refused_as_it_would_be_undone(site, bus, programs):
    site.answering("one")
    greend = site.start(bus=bus.address, programs=programs)
    shutil.copy2(BIN / "greend", programs / "greend.good")
    os.mkfifo(programs / "greend.gate")
    install(programs, "greend", b"#!/bin/sh\ncase \"$*\" in *--check-*) : >$0.asked; read go <$0.gate || :;; esac\nexec $0.good \"$@\"\n")
    reexec = subprocess.Popen([BIN / "greenctl", f"--bus={bus.address}", "reexec", site.name])
    wait_for((programs / "greend.asked").exists, "the successor to be asked")
    refused = greenctl("drain", site.name, bus=bus)
    assert refused.returncode == 1 and "reexec is under way" in refused.stderr
    open_gate(programs / "greend.gate")
    assert reexec.wait(30) == 0
    assert bus.get(site.name, "State") == "serving" and greend.get("/").text == "one"
    assert greenctl("drain", site.name, bus=bus).returncode == 0
    assert bus.get(site.name, "State") == "drained"


def test_broken_code_at_a_reexec_leaves_the_old_workers_to_the_new_greend(site, bus, programs):
    site.answering("one")
    greend = site.start(bus=bus.address, programs=programs)
    old = processes(bus, site)
    shown = greenctl("config", "show", site.name, bus=bus).stdout
    assert "command line" in shown
    site.code("raise RuntimeError('half an edit')\n")
    done = greenctl("reexec", site.name, bus=bus)
    assert done.returncode == 1
    assert "took over" in done.stderr and "half an edit" in done.stderr
    assert processes(bus, site) == old
    assert greend.get("/").text == "one"
    assert greenctl("config", "show", site.name, bus=bus).stdout == shown
    site.answering("two")
    assert greenctl("reload", site.name, bus=bus).returncode == 0
    assert greend.get("/").text == "two"


def test_a_reexec_during_a_reload_comes_after_it(site, bus, programs):
    site.answering("one")
    greend = site.start(bus=bus.address, programs=programs)
    site.code("import time\ntime.sleep(1)\n" + 'def app(environ, start_response):\n    start_response("200 OK", [])\n    return [b"two"]\n')
    reload = subprocess.Popen([BIN / "greenctl", f"--bus={bus.address}", "reload", site.name], stdout=subprocess.PIPE, text=True)
    greend.wait_status("starting generation 2")
    done = greenctl("reexec", site.name, bus=bus)
    assert reload.communicate()[0] == "generation 2 serves with 2 workers\n"
    assert done.returncode == 0 and "generation 3 serves" in done.stdout
    assert greend.get("/").text == "two"


def test_no_client_sees_a_pause(site, bus, programs):
    site.answering("one")
    greend = site.start(bus=bus.address, programs=programs)
    pauses, stopping = [], threading.Event()

    def ask_again_and_again():
        while not stopping.is_set():
            begun = time.monotonic()
            assert greend.get("/").status == 200
            pauses.append(time.monotonic() - begun)

    client = threading.Thread(target=ask_again_and_again)
    client.start()
    begun = time.monotonic()
    for _ in range(3):
        assert greenctl("reexec", site.name, bus=bus).returncode == 0
    took = time.monotonic() - begun
    stopping.set()
    client.join()
    print(json.dumps({"reexecs": 3, "seconds": took, "requests": len(pauses), "longest": max(pauses)}))
    assert len(pauses) > 50 and max(pauses) < 2
