"""Whoever may call greend may call it wrongly, and very often: it serves on and grows no fat."""

import os
import random
import subprocess
import threading
import time
from pathlib import Path

from harness import IS_SANITIZED, QUARANTINE_MB
from load import Load
from waiting import wait_for

METHODS = ["Reload", "Scale", "Reexec", "Recycle", "Drain", "Undrain", "ListRequests", "Backtrace", "DescribeSettings", "NoSuch"]
ARGUMENTS = [
    [], ["s", "x"], ["u", "4294967295"], ["ua{sv}", "4294967295", "0"], ["a{sv}", "1", "no", "s", "x"],
    ["a{sv}", "1", "", "v", "s", ""], ["sa{sv}", "x" * 100_000, "0"], ["ua{sv}", "0", "1", "x" * 50_000, "u", "1"],
    ["as", "1000", *["y"] * 1000], ["v", "v", "v", "v", "s", "deep"], ["d", "nan"], ["g", "a{sv}"], ["ay", "3", "0", "255", "1"],
    ["uuuuuuuu", *["1"] * 8], ["a{sa{sv}}", "0"], ["sa{sv}", "running", "1", "which", "o", "/"],
]
PATHS = ["/org/greend1", "/org/greend1/worker/0", "/org/greend1/worker/99", "/", "/org/freedesktop/LogControl1"]
INTERFACES = ["org.greend1.Site", "org.greend1.Worker", "org.freedesktop.DBus.Properties", "org.freedesktop.LogControl1"]

# A client that calls without waiting for the answers, as fast as the bus takes it.
FLOOD = r"""
import socket, struct, sys, time
path, name, member, seconds = sys.argv[1:5]
bus = socket.socket(socket.AF_UNIX)
bus.connect(path)
import os
uid = str(os.getuid()).encode().hex()
bus.sendall(b"\0AUTH EXTERNAL " + uid.encode() + b"\r\nBEGIN\r\n")
def string(text): return struct.pack("<I", len(text)) + text.encode() + b"\0"
def pad(data, to): return data + b"\0" * (-len(data) % to)
def field(code, kind, text):
    body = string(text) if kind != "g" else bytes([len(text)]) + text.encode() + b"\0"
    return bytes([code, 1]) + kind.encode() + b"\0" + body
def message(serial, destination, path, interface, member, signature="", body=b"", flags=0):
    fields = b""
    for code, kind, text in ((1, "o", path), (2, "s", interface), (3, "s", member), (6, "s", destination), (8, "g", signature)):
        if text:
            fields = pad(fields, 8) + field(code, kind, text)
    head = struct.pack("<BBBBIII", 108, 1, flags, 1, len(body), serial, len(fields)) + fields
    return pad(head, 8) + body
bus.recv(4096)
bus.sendall(message(1, "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello"))
body, signature = (struct.pack("<II", 9999999, 0), "ua{sv}") if member == "Scale" else (struct.pack("<II", 0, 0), "a{sv}") if member == "ListRequests" else (b"", "")
interface = "org.freedesktop.DBus.ObjectManager" if member == "GetManagedObjects" else "org.greend1.Site"
end, count, serial = time.monotonic() + float(seconds), 0, 2
bus.setblocking(True)
import threading
def drain():
    try:
        while bus.recv(1 << 20): pass
    except OSError: pass
threading.Thread(target=drain, daemon=True).start()
while time.monotonic() < end:
    started = time.monotonic()
    bus.sendall(b"".join(message(serial + i, name, "/org/greend1", interface, member, signature, body, flags=1) for i in range(100)))
    serial += 100
    count += 100
    time.sleep(max(0, 0.01 - (time.monotonic() - started)))
print(count)
"""


def memory(pid):
    return next(int(line.split()[1]) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines() if line.startswith("Pss:"))


def test_wrong_arguments_are_refused_and_change_nothing(site, bus):
    greend = site.start(bus=bus.address)
    for worker in greend.worker_pids(2):
        assert worker
    name = f"org.greend1.{site.name}"
    dice = random.Random(20261123)
    calls = [(path, interface, member, arguments) for path in PATHS for interface in INTERFACES for member in METHODS for arguments in ARGUMENTS]
    for path, interface, member, arguments in dice.sample(calls, 150):
        subprocess.run(["busctl", f"--address={bus.address}", "--timeout=5", "call", name, path, interface, member, *arguments],
                       capture_output=True, check=False, timeout=30)
        assert greend.process.poll() is None
    assert greend.get("/").status == 200
    assert bus.get(site.name, "TargetWorkers") == 2


def flood(bus, site, member, seconds):
    done = subprocess.run(["/usr/bin/python3", "-c", FLOOD, f"{bus.folder}/bus", f"org.greend1.{site.name}", member, str(seconds)],
                          capture_output=True, text=True, timeout=seconds + 60, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_thousands_of_calls_a_second_cost_no_request_and_little_memory(site, bus):
    greend = site.start(bus=bus.address)
    flood(bus, site, "Scale", 1)  # what the first of them needs is no growth
    before = memory(greend.pid)
    sent = {}
    with Load(greend.address, clients=2) as load:
        for member in ("Scale", "ListRequests", "GetManagedObjects"):
            answered = load.answered
            sent[member] = flood(bus, site, member, 3)
            wait_for(lambda: load.answered > answered + 100, f"load goes on under {member}")
        wait_for(lambda: bus.get(site.name, "State") == "serving", "an answer at all", 60)
    assert load.failures == {}, load.samples
    growth = memory(greend.pid) - before
    print(f"calls sent: {sent}; greend's PSS grew by {growth} KiB from {before} KiB")
    assert growth < (32 + (QUARANTINE_MB if IS_SANITIZED else 0)) * 1024
    assert bus.get(site.name, "TargetWorkers") == 2
    assert greend.log().count("was denied") < 100
