"""A site served under a path of another."""

import json

import pytest


@pytest.fixture
def mounted(site):
    return site.start("--script-name=/shop", workers=1)


def test_the_application_sees_the_path_below_script_name(mounted):
    environ = json.loads(mounted.get("/shop/environ?a=1").text)
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/shop", "/environ")
    assert environ["RAW_URI"] == "/shop/environ?a=1"
    assert mounted.get("/shop").text == "hello from green\n"


@pytest.mark.parametrize("path", ["/", "/environ", "/shopping/environ", "/Shop/environ"])
def test_a_path_outside_of_script_name_is_not_found_and_the_log_says_why(mounted, path):
    reply = mounted.get(path)
    assert reply.status == 404
    mounted.wait_log(rf"GET {path}: 404, it is not under script_name")


def test_a_script_name_that_is_no_path_is_refused(site):
    status, log = site.run("--check-config", "--script-name=shop/", "app:app")
    assert status == 78
    assert "--script-name" in log
    assert "must be a path such as" in log
