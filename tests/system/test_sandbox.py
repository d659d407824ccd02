"""The unit's sandbox, its drop-ins, credentials, and sites that keep to themselves."""

import json
import re

import pytest

from conftest import Site

DROP_INS = "/usr/share/doc/green/dropins"
PROBING_SITE = """
    import ctypes, json, mmap, os, socket, sys
    from flask import Flask, request

    app = Flask(__name__)

    def attempt(action):
        try:
            return action()
        except OSError as error:
            return error.strerror

    @app.get("/read")
    def read():
        return json.dumps(attempt(lambda: open(request.args["path"]).read()))

    @app.get("/write")
    def write():
        def action():
            with open(request.args["path"], "w") as file:
                file.write("secret")
            return "written"
        return json.dumps(attempt(action))

    @app.get("/processes")
    def processes():
        return json.dumps([entry for entry in os.listdir("/proc") if entry.isdigit()])

    @app.get("/callback")
    def callback():
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))
        numbers = (ctypes.c_int * 3)(3, 1, 2)
        ctypes.CDLL(None).qsort(numbers, 3, ctypes.sizeof(ctypes.c_int), kind(lambda a, b: a[0] - b[0]))
        return json.dumps(list(numbers))

    @app.get("/cffi-callback")
    def cffi_callback():
        import cffi
        ffi = cffi.FFI()
        ffi.cdef("void qsort(void*, size_t, size_t, int (*)(const void*, const void*)); double fabs(double);")
        library = ffi.dlopen(None)
        assert library.fabs(-2.0) == 2.0
        numbers = ffi.new("int[3]", [3, 1, 2])
        try:
            compare = ffi.callback("int(const void*, const void*)", lambda a, b: ffi.cast("int*", a)[0] - ffi.cast("int*", b)[0])
        except MemoryError as error:
            return json.dumps(str(error))
        library.qsort(numbers, 3, 4, compare)
        return json.dumps(list(numbers))

    @app.get("/psycopg")
    def psycopg():
        import psycopg
        try:
            psycopg.connect("host=127.0.0.1 port=9 connect_timeout=5")
        except psycopg.OperationalError as error:
            return json.dumps([psycopg.pq.__impl__, str(error)])

    @app.get("/executable-memory")
    def executable_memory():
        protection = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
        return json.dumps(attempt(lambda: mmap.mmap(-1, 4096, prot=protection) and "given"))

    @app.get("/connect")
    def connect():
        return json.dumps(attempt(lambda: socket.create_connection(("127.0.0.1", 9), 5) and "connected"))

    @app.get("/environment")
    def environment():
        folder = os.environ.get("CREDENTIALS_DIRECTORY")
        credentials = {name: open(os.path.join(folder, name)).read() for name in os.listdir(folder)} if folder else {}
        return json.dumps({"credentials": credentials, "environment": dict(os.environ)})

    @app.get("/")
    def root():
        return "one"
"""


def asked(site, path):
    return json.loads(site.get(path).text)


def exposure(host, unit):
    last = host.run("systemd-analyze", "security", "--no-pager", unit, check=False).stdout.strip().splitlines()[-1]
    return float(re.search(r": ([0-9.]+) ", last).group(1))


def use(site, name, change=lambda text: text):
    site.drop_in(site.service, change(site.host.path(f"{DROP_INS}/{name}.conf").read_text()))


def test_the_unit_is_hardly_exposed(host, site):
    site.code(PROBING_SITE)
    site.start()
    assert exposure(host, site.service) <= 1.5
    assert asked(site, "/callback") == [1, 2, 3]
    assert asked(site, "/executable-memory") == "Operation not permitted"
    # What real sites use: a driver in C does without, the callbacks of cffi's old kind do not.
    implementation, refusal = asked(site, "/psycopg")
    assert implementation == "binary" and "Connection refused" in refusal
    assert "write+execute" in asked(site, "/cffi-callback")
    assert "Read-only" in asked(site, "/write?path=/etc/green-test")
    assert asked(site, f"/write?path=/var/lib/green/{site.name}/own") == "written"
    assert asked(site, "/connect") == "Connection refused"
    # No process but its own user's.
    assert "1" not in asked(site, "/processes")
    # The zygote's heap was looked into, for which mincore(2) is not allowed.
    assert "workers share less memory" not in site.journal()


def test_with_no_egress_a_site_serves_and_talks_to_nobody(host, site):
    site.code(PROBING_SITE)
    use(site, "no-egress")
    site.drop_in(site.socket, "[Socket]\nListenStream=127.0.0.1:8124\n")
    site.start()
    assert exposure(host, site.service) <= 0.5
    assert "not supported" in asked(site, "/connect")
    fetched = host.run("/usr/bin/python3", "-c", "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8124/').read().decode())")
    assert fetched.stdout == "one\n"
    site.systemctl("reload", site.service)
    assert site.get("/").text == "one"


@pytest.mark.parametrize("name", ["address-families", "gpu", "home", "jit", "sub-processes", "writable"])
def test_a_drop_in_is_loaded_and_the_site_serves(host, site, name):
    site.code(PROBING_SITE)
    host.path(f"{site.folder}/media").mkdir()
    host.run("chown", "green", f"{site.folder}/media")
    use(site, name)
    verified = host.run("systemd-analyze", "verify", f"/usr/lib/systemd/system/{site.service}", check=False)
    assert "drop-in" not in verified.stderr and "test.conf" not in verified.stderr
    site.start()
    assert site.get("/").text == "one"
    if name == "jit":
        assert asked(site, "/executable-memory") == "given"
        assert asked(site, "/cffi-callback") == [1, 2, 3]
    if name == "writable":
        assert asked(site, f"/write?path={site.folder}/media/a") == "written"


def test_every_drop_in_is_tried_here(host):
    named = {path.stem for path in host.path(DROP_INS).glob("*.conf")}
    assert named == {"no-egress", "address-families", "gpu", "home", "jit", "sub-processes", "writable", "user", "credentials"}


def own_user(host, site):
    host.run("useradd", "--system", "--user-group", f"site-{site.name}")
    host.run("chown", f"root:site-{site.name}", f"/etc/green/{site.name}.toml")
    host.run("chmod", "640", f"/etc/green/{site.name}.toml")
    use(site, "user")


def test_sites_with_users_of_their_own_cannot_read_one_another(host, site):
    other = Site(host)
    try:
        for one in (site, other):
            one.code(PROBING_SITE)
            own_user(host, one)
            one.start()
            assert asked(one, f"/write?path=/var/lib/green/{one.name}/own") == "written"
        assert asked(other, f"/read?path=/var/lib/green/{other.name}/own") == "secret"
        for path in (f"/var/lib/green/{other.name}/own", f"/etc/green/{other.name}.toml"):
            assert asked(site, f"/read?path={path}") == "Permission denied"
        theirs = set(asked(other, "/processes"))
        assert theirs and not theirs & set(asked(site, "/processes"))
        assert asked(site, f"/read?path=/proc/{other.main_pid()}/environ") == "No such file or directory"
    finally:
        other.clean_up()


def test_credentials_and_files_of_variables_reach_the_workers_and_nobody_else(host, site):
    site.code(PROBING_SITE)
    site.write(f"/etc/green/credentials/{site.name}/database-url", "sesame-one")
    site.write(f"/etc/green/credentials/{site.name}.env", "TOKEN=sesame-two\n")
    for path in (f"{site.name}/database-url", f"{site.name}.env"):
        host.run("chmod", "600", f"/etc/green/credentials/{path}")
    site.config('[env]\nKEY = "sesame-three"\n')
    use(site, "credentials")
    site.start()
    seen = asked(site, "/environment")
    assert seen["credentials"] == {"database-url": "sesame-one"}
    assert seen["environment"]["TOKEN"] == "sesame-two"
    assert seen["environment"]["KEY"] == "sesame-three"
    told = [site.greenctl("status", site.name).stdout, site.systemctl("status", site.service).stdout, site.journal(),
            host.run("greend", "--site", site.name, "--print-config").stdout, site.systemctl("show", site.service).stdout]
    assert all(told) and not any("sesame" in text for text in told)
