"""What the journal has of a site: explained messages, and a line for each request."""

import contextlib
import os
import re
import signal
import subprocess

from load import Load
from waiting import wait_for

ACCESS = "35568c7b261345be98593d13a5b25c41"
WORKER_DIED = "d5b29f9fd8ba4521bcba716a976f6394"
RELOAD_FAILED = "5c17aa563fca48038c38ef572c033685"
START_FAILED = "aff606ae5b124673a1453858f8335a0a"


def entries(site, message_id):
    return [entry for entry in site.journal_entries() if entry.get("MESSAGE_ID") == message_id]


def explained(site, message_id):
    return site.host.run("journalctl", "-x", "--no-pager", f"SITE={site.name}", f"MESSAGE_ID={message_id}").stdout


def test_the_journal_explains_deaths_and_failed_reloads(site):
    site.start()
    site.signal(int(signal.SIGKILL), next(iter(site.worker_pids())))
    wait_for(lambda: entries(site, WORKER_DIED), "the death to be logged")
    assert f"Subject: A worker of site {site.name} died" in explained(site, WORKER_DIED)
    site.code("import nothing_of_that_name")
    assert site.systemctl("reload", site.service, check=False).returncode != 0
    wait_for(lambda: entries(site, RELOAD_FAILED), "the failed reload to be logged")
    text = explained(site, RELOAD_FAILED)
    assert "nothing_of_that_name" in text
    assert "No request was lost" in text


def test_the_journal_explains_a_failed_start(site):
    site.code("import nothing_of_that_name")
    site.systemctl("start", site.socket)
    site.systemctl("start", site.service, check=False)
    wait_for(lambda: entries(site, START_FAILED), "the failure to be logged")
    assert f"greend --site {site.name}" in explained(site, START_FAILED).replace("\n-- ", "\n")


def test_the_journal_has_a_line_with_fields_for_each_request(site):
    site.config('access_log = "journal"\nrequest_id = "reply"\n')
    site.start()
    reply = site.get("/pid?secret=1", headers={"User-Agent": "a SITE=forged"})
    wait_for(lambda: entries(site, ACCESS), "the request to be logged")
    entry = entries(site, ACCESS)[-1]
    assert {name: entry[name] for name in ("SITE", "GENERATION", "METHOD", "PATH", "STATUS", "SYSLOG_IDENTIFIER")} == {
        "SITE": site.name, "GENERATION": "1", "METHOD": "GET", "PATH": "/pid", "STATUS": "200", "SYSLOG_IDENTIFIER": "green-worker"}
    assert entry["REQUEST_ID"] == reply.headers["x-request-id"]
    assert entry["_PID"] == reply.text
    assert int(entry["DURATION_USEC"]) >= 20_000
    assert int(entry["BYTES"]) == len(reply.text)


@contextlib.contextmanager
def stopped_journald(host):
    """By its own pid: what systemctl stops is started again by whoever logs."""
    pid = host.run("systemctl", "show", "--value", "--property=MainPID", "systemd-journald.service").stdout.strip()
    host.run("kill", "-STOP", pid)
    try:
        yield
    finally:
        host.run("kill", "-CONT", pid)


def test_a_journald_that_has_stopped_blocks_neither_requests_nor_greend(site, host):
    site.config('access_log = "journal"\n')
    site.start()
    victim = site.worker_pids(2).pop()
    with stopped_journald(host), Load(site.address, clients=4) as load:
        wait_for(lambda: load.answered > 3000, "load goes on", 60)
        # greend logs these, and more of them than a socket holds.
        for count in (3, 2) * 4:
            site.greenctl("scale", site.name, count)
        assert site.greenctl("reload", site.name).returncode == 0
        answered = load.answered
        wait_for(lambda: load.answered > answered + 500, "load goes on", 60)
    assert load.failures == {} and load.longest < 5, (load.samples, load.longest)
    assert site.is_gone(victim)
    assert site.show("NRestarts") == "0"
    site.get("/")
    site.wait_journal(r"access log: \d+ lines were dropped: its target does not keep up", 90)


NOISY = """
    import ctypes, logging, os, sys, threading, warnings

    print("printed at import")
    journal = logging.getLogger("shop.cart")
    journal.addHandler(logging.StreamHandler())
    journal.setLevel(logging.DEBUG)

    def sell():
        journal.info("sold")
        journal.error("no stock\\nat all")

    def app(environ, start_response):
        print("printed")
        print("to stderr", file=sys.stderr)
        print("<3>with a prefix")
        sell()
        logging.getLogger("bare").error("nobody set logging up")
        warnings.warn("deprecated")
        print("to wsgi.errors", file=environ["wsgi.errors"])
        threading.Thread(target=print, args=("by a thread",)).start()
        os.write(2, b"by C code\\n")
        start_response("200 OK", [])
        return [str(os.getpid()).encode()]
"""


def test_what_the_application_writes_is_in_the_journal_with_its_level_and_its_worker(site):
    site.code(NOISY)
    site.config("workers = 1\n")
    site.start()
    pid = site.get("/").text
    wait_for(lambda: any(entry["MESSAGE"] == "by a thread" for entry in site.journal_entries()), "the last line")
    found = {str(entry["MESSAGE"]): entry for entry in site.journal_entries()}
    for message, level in (("printed", "6"), ("to stderr", "4"), ("with a prefix", "3"), ("sold", "6"), ("no stock\nat all", "3"),
                           ("nobody set logging up", "3"), ("to wsgi.errors", "4"), ("by a thread", "6")):
        entry = found[message]
        assert {name: entry.get(name) for name in ("PRIORITY", "SITE", "GENERATION", "WORKER", "_PID", "SYSLOG_IDENTIFIER")} == {
            "PRIORITY": level, "SITE": site.name, "GENERATION": "1", "WORKER": "0", "_PID": pid, "SYSLOG_IDENTIFIER": "green-worker"}, message
    warning = next(entry for message, entry in found.items() if "UserWarning: deprecated" in message)
    assert (warning["PRIORITY"], warning["WORKER"]) == ("4", "0")
    at_import = found["printed at import"]
    assert (at_import["SITE"], at_import["GENERATION"], at_import.get("WORKER")) == (site.name, "1", None)
    assert (found["sold"]["LOGGER"], found["sold"]["CODE_FUNC"], found["sold"]["CODE_FILE"]) == ("shop.cart", "sell", f"{site.folder}/app.py")
    assert found["by C code"]["_SYSTEMD_UNIT"] == site.service


def test_an_uncaught_exception_of_a_thread_is_one_entry_and_an_error(site):
    site.code("""
        import threading

        def poll():
            raise ValueError("boom")

        def app(environ, start_response):
            thread = threading.Thread(target=poll, name="poller")
            thread.start()
            thread.join()
            start_response("200 OK", [])
            return [b"answered"]
    """)
    site.start()
    assert site.get("/").text == "answered"
    told = wait_for(lambda: [entry for entry in site.journal_entries()
                             if "boom" in str(entry["MESSAGE"]) or "poller" in str(entry["MESSAGE"])], "the exception in the journal")
    assert len(told) == 1
    lines = told[0]["MESSAGE"].splitlines()
    assert lines[:2] == ["Exception in thread poller:", "Traceback (most recent call last):"] and lines[-1] == "ValueError: boom"
    assert told[0]["PRIORITY"] == "3" and told[0]["WORKER"] in ("0", "1")


def test_print_does_not_wait_for_a_journald_that_has_stopped(site, host):
    site.code("""
        def app(environ, start_response):
            print("x" * 1000)
            start_response("200 OK", [])
            return [b"printed"]
    """)
    site.start()
    with stopped_journald(host), Load(site.address, clients=4) as load:
        wait_for(lambda: load.answered > 3000, "load goes on", 60)
    assert load.failures == {} and load.longest < 5, (load.samples, load.longest)
    wait_for(lambda: site.get("/") and re.search(r"\d+ messages were lost: the journal was full", site.journal()), "what was lost is told", 30)


def test_a_reader_of_logs_that_has_seen_enough_is_no_failure(site, host):
    site.start()
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(host.command("greenctl", "--no-pager", "logs", site.name), stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")
