"""greend's start: what it says, when, and how it refuses."""

import json
import os
import socket
import subprocess

import pytest

from harness import BIN, activation, free_port

APP = 'app = "app:app"\n'


def test_ready_is_sent_once_requests_are_answered(site):
    greend = site.start()
    assert greend.get("/").text == "hello from green\n"
    assert greend.notify.count("READY=1") == 1
    greend.wait_status(r"generation 1: 2 workers ready")


def test_ready_waits_for_the_import(site):
    site.code("""
        import time
        time.sleep(1.5)
        def app(environ, start_response):
            start_response("200 OK", [])
            return [b"late"]
    """)
    greend = site.start(ready=False)
    begun = greend.notify.wait_status("importing").when
    assert greend.wait_ready().when - begun > 1.2
    assert greend.get("/").text == "late"


def test_a_slow_import_asks_for_more_time(site):
    site.code("""
        import time
        time.sleep(4)
        def app(environ, start_response):
            start_response("200 OK", [])
            return [b"late"]
    """)
    greend = site.start(ready=False)
    extension = greend.notify.wait(lambda d: d.get("EXTEND_TIMEOUT_USEC"), "EXTEND_TIMEOUT_USEC")
    assert int(extension.get("EXTEND_TIMEOUT_USEC")) >= 1_000_000
    assert extension.when < greend.wait_ready().when


def test_tcp_is_served(site):
    port = free_port()
    greend = site.start(bind=f"127.0.0.1:{port}")
    assert greend.get("/").text == "hello from green\n"


def test_ipv6_is_served(site):
    port = free_port()
    greend = site.start(bind=f"[::1]:{port}")
    assert greend.get("/").text == "hello from green\n"


def test_several_addresses_are_served(site):
    port = free_port()
    greend = site.start(f"--bind=127.0.0.1:{port}")
    unix = greend.address
    for address in (unix, ("127.0.0.1", port)):
        greend.address = address
        assert greend.get("/").status == 200


def test_an_application_on_the_command_line_needs_no_file(site):
    greend = site.launch("--bus=none", f"--bind=unix:{site.folder}/s", "--workers=1", "app:app")
    greend.address = f"{site.folder}/s"
    greend.wait_ready()
    assert greend.get("/").status == 200


def test_a_unix_socket_is_gone_after_the_exit(site):
    greend = site.start()
    assert greend.stop() == 0
    assert not os.path.exists(greend.address)


def test_a_port_in_use_is_one_clear_line(site):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        status, log = site.run("--bus=none", f"--bind=127.0.0.1:{port}", "app:app")
    assert status not in (0, None)
    assert f"127.0.0.1:{port}" in log and "in use" in log
    assert len(log.splitlines()) == 1, log


def test_sockets_passed_by_name_are_served(site):
    with socket.socket() as tcp, socket.socket(socket.AF_UNIX) as unix:
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        unix.bind(f"{site.folder}/passed.sock")
        unix.listen()
        greend = site.launch("--config=" + str(site.config(APP)), "--bus=none", "--workers=1",
                             **activation([("http", tcp), ("http", unix)]))
        greend.wait_ready()
        for address in (tcp.getsockname(), f"{site.folder}/passed.sock"):
            greend.address = address
            assert greend.get("/").status == 200
        assert greend.stop() == 0
    assert os.path.exists(f"{site.folder}/passed.sock"), "a passed socket is not greend's to remove"


def test_a_passed_descriptor_that_is_no_listening_socket_is_closed_with_a_warning(site):
    with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram:
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        datagram.bind(("127.0.0.1", 0))
        greend = site.launch("--config=" + str(site.config(APP)), "--bus=none", "--workers=1",
                             **activation([("http", tcp), ("http", datagram)]))
        greend.wait_ready()
        greend.address = tcp.getsockname()
        assert greend.get("/").status == 200
        greend.wait_log("warning: .*descriptor")
        process = json.loads(greend.get("/process").text)
        of_datagram = f"socket:[{os.fstat(datagram.fileno()).st_ino}]"
        of_greend = [os.readlink(entry.path) for entry in os.scandir(f"/proc/{greend.pid}/fd")]
    assert of_datagram not in of_greend
    assert of_datagram not in process["descriptors"].values()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('app = "app:app"\nwokers = 2\n', [r":2", "wokers", "workers"]),
        ('app = "app:app"\nworkers = -1\n', [r":2", "workers", "-1"]),
        ('app = "app:app"\nworkers = "many"\n', [r":2", "workers"]),
        ('app = "app:app"\ntimeout = [1]\n', [r":2", "timeout"]),
        ("app = \n", [r":1"]),
        ("workers = 2\n", ["app"]),
    ],
    ids=["unknown key", "out of bounds", "wrong type", "list for a number", "no TOML", "no application"],
)
def test_a_bad_configuration_is_one_line_and_status_78(site, text, expected):
    path = site.config(text)
    status, log = site.run(f"--config={path}", "--bus=none", f"--bind=unix:{site.folder}/s")
    assert status == 78, log
    assert len(log.splitlines()) == 1, log
    assert path.name in log
    for part in expected:
        assert part in log


def test_a_missing_configuration_is_one_line_and_status_78(site):
    status, log = site.run(f"--config={site.folder}/none.toml", "--bus=none")
    assert status == 78
    assert "none.toml" in log and len(log.splitlines()) == 1, log


@pytest.mark.parametrize(
    ("application", "named"),
    [("nosuch:app", "nosuch"), ("app:nosuch", "nosuch"), ("app:__name__", "callable")],
    ids=["no module", "no attribute", "not callable"],
)
def test_an_application_that_is_not_there_is_status_78(site, application, named):
    status, log = site.run("--bus=none", f"--bind=unix:{site.folder}/s", application)
    assert status == 78, log
    assert named in log


def test_code_that_raises_at_import_fails_the_start_with_its_traceback(site):
    site.code("def deeper():\n    raise RuntimeError('no database')\ndeeper()\n")
    status, log = site.run("--bus=none", f"--bind=unix:{site.folder}/s", "app:app")
    assert status == 1, log
    assert "RuntimeError: no database" in log and "in deeper" in log and "app.py" in log


@pytest.mark.parametrize("option", ["--wokers=2", "--timeout=fast", "--site=../x", "--preload=perhaps"])
def test_a_bad_option_is_one_line(site, option):
    status, log = site.run("--bus=none", option, "app:app")
    assert status == 78, log
    assert option.split("=")[0] in log or option.split("=")[0].lstrip("-") in log
    assert len(log.splitlines()) == 1, log


def test_an_option_may_set_a_setting_to_nothing(site):
    path = site.config("app = 'app:app'\nprobe = '/health'\n")
    for option in (["--probe="], ["--probe", ""]):
        status, log = site.run("--print-config", f"--config={path}", *option)
        assert status == 0, log
        assert 'probe = ""' in log


def test_check_config_says_nothing_about_a_good_one(site):
    status, log = site.run("--check-config", f"--config={site.config(APP)}")
    assert status == 0, log


def test_check_config_refuses_a_bad_one(site):
    status, log = site.run("--check-config", f"--config={site.config('wokers = 1')}")
    assert status == 78
    assert "wokers" in log


def test_print_config_says_where_each_value_comes_from(site):
    path = site.config("app = 'app:app'\nworkers = 3\n[env]\nSECRET = 'hidden'\n")
    status, log = site.run("--print-config", f"--config={path}", "--timeout=5", env={"GREEN_KEEPALIVE": "7"})
    assert status == 0, log
    lines = {line.split(" = ")[0]: line for line in log.splitlines() if " = " in line}
    assert "3" in lines["workers"] and f"{path.name}:2" in lines["workers"]
    assert "command line" in lines["timeout"]
    assert "environment" in lines["keepalive"] and "7" in lines["keepalive"]
    assert "default" in lines["graceful_timeout"]
    assert "hidden" not in log


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(site):
    path = site.config("app = 'nosuch:app'\nworkers = 1\n")
    greend = site.launch(f"--config={path}", "--bus=none", f"--bind=unix:{site.folder}/s", "app:app",
                         env={"GREEN_WORKERS": "3", "GREEN_APP": "other:app"})
    greend.address = f"{site.folder}/s"
    greend.wait_ready()
    greend.wait_status("3 workers ready")


def test_without_a_service_manager_greend_serves_all_the_same(site):
    greend = site.start(ready=False, env={"NOTIFY_SOCKET": ""})
    greend.wait_log("listening on")
    assert greend.get("/").status == 200


def test_greend_needs_no_libpython():
    needed = subprocess.run(["readelf", "-d", str(BIN / "greend")], capture_output=True, text=True, check=True).stdout
    assert "libsystemd" in needed
    assert "python" not in needed
