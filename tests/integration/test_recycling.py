"""max_requests, max_rss and max_lifetime: a replacement serves first, then the old worker drains."""

import re
import threading
import time

from harness import greenctl
from load import Load
from waiting import PATIENCE, wait_for


def watch_workers(bus, name, until, seconds=40):
    """Every worker seen by pid, and each look at all of them, until the condition holds."""
    seen, looks = {}, []

    def look():
        workers = list(bus.workers(name).values())
        seen.update({worker["PID"]: worker for worker in workers})
        looks.append([worker["State"] for worker in workers])
        return until(seen)

    wait_for(look, "the end of a watch", seconds)
    return seen, looks


def test_workers_are_recycled_under_load_and_nothing_is_lost(site, bus):
    greend = site.start("--max-requests=300", "--max-requests-jitter=100", workers=3, bus=bus.address)
    with Load(greend.address, clients=6) as load:
        seen, looks = watch_workers(bus, site.name, lambda seen: len(seen) >= 12)
    assert load.failures == {}, load.samples
    assert load.answered > 9 * 300
    for states in looks:
        # A worker about to serve may still count as starting; never fewer than wanted serve.
        assert states.count("serving") >= 3, looks
        assert states.count("draining") + states.count("starting") + states.count("ready") <= 2, looks
    assert bus.get(site.name, "WorkerDeathsTotal") == 0
    assert bus.get(site.name, "Generation") == 1
    assert re.search(r"has answered (3|4)\d\d requests \(max_requests\)", greend.log())


def test_status_stays_truthful_while_workers_are_recycled(site, bus):
    greend = site.start("--max-requests=100", bus=bus.address)
    with Load(greend.address, clients=4) as load:
        for _ in range(10):
            answered = load.answered
            wait_for(lambda: load.answered > answered + 150, "load goes on")
            assert "2 workers ready" in greenctl("status", site.name, bus=bus).stdout
    assert load.failures == {}, load.samples
    total = load.answered
    wait_for(lambda: bus.get(site.name, "RequestsTotal") >= total, "every request is counted")
    assert bus.get(site.name, "RequestsTotal") == total


def test_a_worker_that_grows_is_recycled_and_one_that_shares_is_not(site, bus):
    site.code("""
        import os
        shared = bytearray(os.urandom(1) * (96 << 20))
        grown = []
        def app(environ, start_response):
            if environ["PATH_INFO"] == "/grow":
                grown.append(b"x" * (160 << 20))
            start_response("200 OK", [])
            return [str(os.getpid()).encode()]
    """)
    # Each has the 96 MiB of the import resident, but only in proportion.
    greend = site.start(f"--max-rss={120 << 20}", "--timeout=4", workers=3, bus=bus.address)
    before = {worker["PID"] for worker in bus.workers(site.name).values()}
    grower = int(greend.get("/grow").text)
    greend.wait_log(rf"process {grower}\) takes \d+ MiB \(max_rss\)", 20)
    wait_for(lambda: grower not in {worker["PID"] for worker in bus.workers(site.name).values()}, "the grown worker's end", 20)
    after = {worker["PID"] for worker in bus.workers(site.name).values()}
    assert before - {grower} <= after
    assert len(after) == 3


def test_workers_are_recycled_by_age_one_after_the_other(site, bus):
    greend = site.start("--max-lifetime=2s", "--max-lifetime-jitter=1s", workers=3, bus=bus.address)
    with Load(greend.address, clients=4) as load:
        _, looks = watch_workers(bus, site.name, lambda seen: len(seen) >= 9)
    assert load.failures == {}, load.samples
    assert all(states.count("serving") >= 3 for states in looks), looks
    assert "(max_lifetime)" in greend.log()


def test_a_long_request_is_finished_by_the_worker_that_is_recycled(site, bus):
    greend = site.start("--max-requests=20", "--timeout=30", "--threads=2", workers=1, bus=bus.address)
    replies = []
    asking = threading.Thread(target=lambda: replies.append(greend.get("/sleep?s=6").text))
    asking.start()
    wait_for(lambda: bus.get(site.name, "BusyWorkers") == 1, "the request is in the application")
    first = {worker["PID"] for worker in bus.workers(site.name).values()}
    for _ in range(30):
        assert greend.get("/").status == 200
    wait_for(lambda: any(worker["State"] == "draining" for worker in bus.workers(site.name).values()), "a worker that drains")
    assert first < {worker["PID"] for worker in bus.workers(site.name).values()}
    asking.join(20 * PATIENCE)
    assert replies == ["slept"]


def test_a_reload_and_a_scale_go_well_while_workers_are_recycled(site, bus):
    greend = site.start("--max-requests=150", bus=bus.address)
    with Load(greend.address, clients=4) as load:
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            for verb in (("scale", site.name, 4), ("reload", site.name), ("scale", site.name, 2)):
                done = greenctl(*verb, bus=bus)
                assert done.returncode == 0, done.stderr
    assert load.failures == {}, load.samples
