"""The access log and request ids, as green.toml(5) has them."""

import json
import os
import re
import subprocess

import pytest

from waiting import wait_for


def lines_of(path, count):
    wait_for(lambda: path.exists() and len(path.read_text().splitlines()) >= count, f"{count} lines in {path.name}")
    return path.read_text().splitlines()


@pytest.mark.parametrize("threads", [1, 4])
def test_each_request_has_a_line_in_a_file(site, tmp_path, threads):
    log = tmp_path / "access.log"
    greend = site.start(f"--access-log={log}", "--access-log-format=%(m)s %(U)s %(q)s %(s)s %(B)s %(D)s", f"--threads={threads}")
    for number in range(20):
        greend.get(f"/pid?n={number}")
    lines = lines_of(log, 20)
    assert sorted(int(re.fullmatch(r"GET /pid n=(\d+) 200 \d+ (\d+)", line).group(1)) for line in lines) == list(range(20))
    assert all(20_000 <= int(line.split()[-1]) < 5_000_000 for line in lines)


def test_a_reload_opens_the_file_anew(site, tmp_path):
    log = tmp_path / "access.log"
    greend = site.start(f"--access-log={log}")
    greend.get("/")
    lines_of(log, 1)
    log.rename(tmp_path / "access.log.1")
    greend.get("/")
    lines_of(tmp_path / "access.log.1", 2)
    greend.send(1)
    greend.wait_log("generation 2 serves")
    greend.get("/")
    assert len(lines_of(log, 1)) == 1


def test_standard_output_has_json_for_whoever_parses_it(site):
    greend = site.start("--access-log=-", "--access-log-format=json")
    greend.get("/environ?a=b", headers={"User-Agent": 'x"\\'})
    greend.wait_log('"path":"/environ"')
    line = next(line for line in greend.log().splitlines() if line.startswith("{"))
    entry = json.loads(line)
    assert (entry["method"], entry["path"], entry["query"], entry["status"]) == ("GET", "/environ", "a=b", 200)
    assert entry["user_agent"] == 'x"\\'
    assert len(entry["request_id"]) == 32


def test_a_format_or_a_file_that_cannot_be_is_refused(site, tmp_path):
    for option, told in ((f"--access-log={tmp_path}/none/log", "access_log"), ("--access-log=log", "access-log=log: must be"),
                         ("--access-log-format=%(x)s", "no atom")):
        greend = site.start(option, ready=False)
        assert greend.wait_exit() == 78
        assert told in greend.log()


def test_a_full_disk_and_a_full_pipe_cost_lines_and_no_request(site, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for target in ("/dev/full", str(fifo)):
        reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        try:
            greend = site.start(f"--access-log={target}", workers=1)
            connection = greend.connection()
            for _ in range(1500):
                assert connection.ask("GET", "/").status == 200
            connection.close()
            greend.wait_log(r"access log: \d+ lines were dropped")
            greend.stop()
        finally:
            os.close(reader)


def test_a_request_past_its_timeout_is_told_in_one_place_or_the_other(site, tmp_path):
    log = tmp_path / "access.log"
    greend = site.start(f"--access-log={log}", "--timeout=1", "--threads=2", workers=1)
    assert greend.get("/sleep?s=30").status == 504
    assert " 504 " in lines_of(log, 1)[0]


def test_the_request_id_is_in_the_environ_and_in_the_reply(site):
    greend = site.start("--request-id=reply")
    reply = greend.get("/environ", headers={"X-Request-ID": "from-the-proxy"})
    assert reply.headers["x-request-id"] == "from-the-proxy"
    assert json.loads(reply.text)["HTTP_X_REQUEST_ID"] == "from-the-proxy"
    made = greend.get("/environ", headers={"X-Request-ID": "not one"})
    assert re.fullmatch("[0-9a-f]{32}", made.headers["x-request-id"])
    assert json.loads(made.text)["HTTP_X_REQUEST_ID"] == made.headers["x-request-id"]
