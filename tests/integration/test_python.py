"""Which Python an application runs in, and how it is found."""

import json
import os
import subprocess

import pytest

SYSTEM_PYTHON = "/usr/bin/python3"

SHOWS_SELF = """
    import json, sys
    def app(environ, start_response):
        start_response("200 OK", [])
        return [json.dumps([sys.prefix, sys.executable, sys.base_prefix, sys.path]).encode()]
"""


@pytest.fixture(scope="session")
def venv(tmp_path_factory):
    folder = tmp_path_factory.mktemp("venv") / "v"
    subprocess.run([SYSTEM_PYTHON, "-m", "venv", "--without-pip", folder], check=True)
    packages = next((folder / "lib").glob("python3*/site-packages"))
    (packages / "only_here.py").write_text("NAME = 'from the venv'\n")
    (packages / "more.pth").write_text(f"{folder}/extra\n")
    (folder / "extra").mkdir()
    (folder / "extra/by_pth.py").write_text("NAME = 'from a pth'\n")
    return folder


@pytest.mark.parametrize("given", ["", "/bin/python", "/bin/python3"])
def test_a_venv_is_given_by_its_folder_or_its_interpreter(site, venv, given):
    site.code("""
        import by_pth, json, only_here, sys
        def app(environ, start_response):
            start_response("200 OK", [])
            return [json.dumps([only_here.NAME, by_pth.NAME, sys.prefix, sys.executable, sys.base_prefix]).encode()]
    """)
    greend = site.start(f"--python={venv}{given}", workers=1)
    name, by_pth, prefix, executable, base = json.loads(greend.get("/").text)
    assert (name, by_pth, prefix, base) == ("from the venv", "from a pth", str(venv), "/usr")
    assert executable.startswith(f"{venv}/bin/python")
    version = subprocess.run([executable, "-c", "import only_here; print(only_here.NAME)"], capture_output=True, text=True, check=True)
    assert version.stdout == "from the venv\n"


def test_without_a_venv_it_is_the_system_python(site):
    site.code(SHOWS_SELF)
    prefix, executable, _, path = json.loads(site.start(workers=1).get("/").text)
    assert prefix == "/usr"
    assert os.path.realpath(executable) == os.path.realpath(SYSTEM_PYTHON)
    assert "/usr/lib/python3/dist-packages" in path


def test_a_venv_of_another_minor_version_is_refused(site, tmp_path):
    other = tmp_path / "other"
    (other / "bin").mkdir(parents=True)
    (other / "lib/python3.4/site-packages").mkdir(parents=True)
    (other / "pyvenv.cfg").write_text("home = /opt/python3.4/bin\nversion = 3.4.1\n")
    (other / "bin/python").symlink_to("/opt/python3.4/bin/python3.4")
    status, log = site.run("--bus=none", f"--bind=unix:{site.folder}/s", f"--python={other}", "app:app")
    assert status == 78, log
    assert "3.4" in log and "Traceback" not in log


def test_a_python_that_is_not_there_is_refused(site):
    status, log = site.run("--bus=none", f"--bind=unix:{site.folder}/s", "--python=/nonexistent/venv", "app:app")
    assert status == 78, log
    assert "/nonexistent/venv" in log


@pytest.mark.parametrize(
    ("code", "application"),
    [
        ("def app(e, s):\n    s('200 OK', [])\n    return [b'found']\n", "app:app"),
        ("class Box: pass\nbox = Box()\ndef f(e, s):\n    s('200 OK', [])\n    return [b'found']\nbox.inner = f\n", "app:box.inner"),
        ("def make():\n    def f(e, s):\n        s('200 OK', [])\n        return [b'found']\n    return f\n", "app:make()"),
        ("def application(e, s):\n    s('200 OK', [])\n    return [b'found']\ndef app(e, s):\n    raise ValueError\n", "app"),
        ("def app(e, s):\n    s('200 OK', [])\n    return [b'found']\n", "app"),
    ],
    ids=["module:attr", "module:attr.attr", "module:factory()", "module with application", "module with app"],
)
def test_an_application_is_found_by_every_form_of_its_name(site, code, application):
    site.code(code)
    greend = site.start(config=site.config(f"app = '{application}'"), workers=1)
    assert greend.get("/").text == "found"


def test_chdir_pythonpath_and_env_are_the_application_s(site, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "library").mkdir()
    (tmp_path / "library/helper.py").write_text("NAME = 'helper'\n")
    (tmp_path / "elsewhere/app.py").write_text(
        "import helper, json, os\n"
        "def app(e, s):\n    s('200 OK', [])\n"
        "    return [json.dumps([helper.NAME, os.getcwd(), os.environ['ONE'], os.environ['TWO']]).encode()]\n")
    config = site.config("app = 'app:app'\n[env]\nONE = '1 from the file'\nTWO = '2 from the file'\n")
    greend = site.start(f"--chdir={tmp_path}/elsewhere", f"--pythonpath={tmp_path}/library", "--env=TWO=2=line", config=config, workers=1)
    assert json.loads(greend.get("/").text) == ["helper", f"{tmp_path}/elsewhere", "1 from the file", "2=line"]
