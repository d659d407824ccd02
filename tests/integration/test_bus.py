"""Control by D-Bus, with greenctl and without: and serving when there is no bus."""

import json
import os
import signal
import socket
import subprocess
import time

import pytest

from harness import TOP, greenctl
from load import Load
from waiting import PATIENCE, wait_for


@pytest.fixture
def greend(site, bus):
    return site.start(bus=bus.address)


def test_the_interface_on_the_bus_is_the_one_of_the_xml(site, bus, greend):
    import xml.etree.ElementTree as ElementTree

    def shape(node):
        return {
            interface.get("name"): sorted(
                (member.tag, member.get("name"), tuple((arg.get("type"), arg.get("direction") or "out") for arg in member.findall("arg")),
                 member.get("type"), member.get("access"))
                for member in interface if member.tag in ("method", "signal", "property"))
            for interface in node.findall("interface") if interface.get("name").startswith("org.greend1.")
        }

    wanted = shape(ElementTree.parse(TOP / "common/org.greend1.xml").getroot())
    slot = next(iter(bus.workers(site.name)))
    found = {}
    for path in ("/org/greend1", f"/org/greend1/worker/{slot}"):
        text = subprocess.run(
            ["busctl", f"--address={bus.address}", "introspect", "--xml-interface", f"org.greend1.{site.name}", path],
            capture_output=True, text=True, check=True).stdout
        found.update(shape(ElementTree.fromstring(text)))
    assert found == wanted


def test_properties_tell_the_truth(site, bus, greend):
    assert bus.get(site.name, "SiteName") == site.name
    assert bus.get(site.name, "State") == "serving"
    assert bus.get(site.name, "Application") == "app:app"
    assert bus.get(site.name, "MainPID") == greend.pid
    assert bus.get(site.name, "Generation") == 1
    assert bus.get(site.name, "TargetWorkers") == bus.get(site.name, "ReadyWorkers") == 2
    assert bus.get(site.name, "Listeners") == [f"unix:{greend.address}"]
    assert bus.get(site.name, "ConfigFile").endswith(f"{site.name}.toml")
    for _ in range(5):
        greend.get("/")
    wait_for(lambda: bus.get(site.name, "RequestsTotal") == 5, "five requests counted")
    assert {worker["PID"] for worker in bus.workers(site.name).values()} == greend.worker_pids(2)


def test_a_death_is_counted(site, bus, greend):
    with pytest.raises(OSError):
        greend.get("/exit")
    wait_for(lambda: bus.get(site.name, "WorkerDeathsTotal") == 1, "one death")


def test_status_in_text_and_json(site, bus, greend):
    done = greenctl("status", site.name, bus=bus)
    assert done.returncode == 0, done.stderr
    assert "generation 1" in done.stdout and "2 workers ready" in done.stdout
    as_json = json.loads(greenctl("status", site.name, "--json", bus=bus).stdout)
    assert site.name in json.dumps(as_json) and str(greend.pid) in json.dumps(as_json)


def test_workers_in_text_and_json(site, bus, greend):
    pids = greend.worker_pids(2)
    done = greenctl("workers", site.name, bus=bus)
    assert done.returncode == 0, done.stderr
    as_json = greenctl("workers", site.name, "--json", bus=bus).stdout
    json.loads(as_json)
    for pid in pids:
        assert str(pid) in done.stdout and str(pid) in as_json


def test_the_only_site_needs_no_name(site, bus, greend):
    assert greenctl("scale", "3", bus=bus).returncode == 0
    assert bus.get(site.name, "ReadyWorkers") == 3
    assert greenctl("status", bus=bus).returncode == 0
    assert greenctl("reload", bus=bus).returncode == 0


def test_with_several_sites_a_name_is_asked_for(site, bus, greend):
    other = site.launch(f"--config={TOP / 'examples/flask-site/green.toml'}", f"--bus={bus.address}", "--workers=1",
                        f"--bind=unix:{site.folder}/other", f"--chdir={site.folder}", "app:app", "--probe", "")
    other.wait_ready()
    done = greenctl("scale", "3", bus=bus)
    assert done.returncode == 4, done.stderr
    assert site.name in done.stderr and "green" in done.stderr


def test_no_site_at_all_is_told(bus):
    done = greenctl("status", bus=bus)
    assert done.returncode == 3
    assert done.stderr and "Traceback" not in done.stderr


def test_a_site_that_does_not_run_is_told(site, bus, greend):
    done = greenctl("status", "nosuchsite", bus=bus)
    assert done.returncode in (3, 4)
    assert "nosuchsite" in done.stdout + done.stderr


@pytest.mark.parametrize("arguments", [["scale", "0"], ["scale", "-3"], ["scale", "many"], ["scale", "100000"]])
def test_an_impossible_number_of_workers_is_refused(site, bus, greend, arguments):
    done = greenctl(*arguments, bus=bus)
    assert done.returncode != 0
    assert done.stderr
    assert bus.get(site.name, "TargetWorkers") == 2


@pytest.mark.parametrize("arguments", [[], ["nosuchverb"], ["status", "--nosuch"]])
def test_a_bad_command_line_is_status_2(bus, arguments):
    done = greenctl(*arguments, bus=bus)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr


def test_no_bus_is_one_clear_line(tmp_path):
    done = greenctl(f"--bus=unix:path={tmp_path}/none", "status")
    assert done.returncode not in (0, 2)
    assert len(done.stderr.splitlines()) == 1, done.stderr


def test_without_a_bus_greend_serves_and_says_so_once(site):
    greend = site.start(bus=f"unix:path={site.folder}/none")
    for _ in range(20):
        assert greend.get("/").status == 200
    greend.wait_log("no D-Bus")
    lines = [line for line in greend.log().splitlines() if "D-Bus" in line]
    assert len(lines) == 1, lines


def test_bus_none_says_nothing_of_a_bus(site):
    greend = site.start(bus="none")
    assert greend.get("/").status == 200
    assert "D-Bus" not in greend.log()


def test_a_restarted_bus_costs_no_request_and_is_joined_again(site, bus, greend):
    with Load(greend.address, clients=2) as load:
        bus.stop()
        answered = load.answered
        wait_for(lambda: load.answered > answered + 200, "load goes on without a bus")
        bus.start()
        wait_for(lambda: f"org.greend1.{site.name}" in bus.names(), "the name on the new bus", 45)
        assert greenctl("scale", "3", bus=bus).returncode == 0
    assert load.failures == {}, load.samples


def test_greend_stopped_during_a_reload_ends_the_command(site, bus, greend):
    site.code("import time\ntime.sleep(60)\n")
    import subprocess as processes

    from harness import BIN
    waiting = processes.Popen([BIN / "greenctl", f"--bus={bus.address}", "reload"], stderr=processes.PIPE, text=True)
    wait_for(lambda: bus.get(site.name, "State") == "reloading", "the reload is under way")
    greend.stop(signal.SIGTERM)
    assert waiting.wait(20) != 0
    assert waiting.stderr.read()
    waiting.stderr.close()


def test_a_name_that_is_taken_is_told(site, bus, greend):
    second = site.start(bus=bus.address)
    second.wait_log(f"(?i){site.name}.*|name")
    assert second.get("/").status == 200


def test_a_bus_that_accepts_and_never_answers_holds_nothing_up(site, tmp_path):
    path = tmp_path / "deaf-bus"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as deaf:
        deaf.bind(str(path))
        deaf.listen(16)
        begun = time.monotonic()
        greend = site.start(bus=f"unix:path={path}")
        assert time.monotonic() - begun < 8 * PATIENCE
        assert greend.get("/").status == 200
        greend.wait_log("no D-Bus control .*: the bus has not answered for 5 s", 15)
        victim = greend.worker_pids(2).pop()
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: victim not in (pids := greend.worker_pids(2)) and len(pids) == 2, "its replacement")
        deaf.accept()[0].close()  # the one that was given up: the next is the one under way
        under_way, _ = deaf.accept()
        begun = time.monotonic()
        assert greend.stop() == 0
        assert time.monotonic() - begun < 8 * PATIENCE
        under_way.close()
