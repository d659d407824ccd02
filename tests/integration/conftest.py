import pytest

from harness import BIN, Bus, Site


def pytest_report_header():
    return f"binaries: {BIN}"


@pytest.fixture(scope="session", autouse=True)
def binaries():
    for name in ("greend", "greenctl", "green-worker"):
        assert (BIN / name).exists(), f"{BIN / name} is not built"


@pytest.fixture
def bus(tmp_path_factory):
    private = Bus(tmp_path_factory.mktemp("bus"))
    yield private
    private.stop()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    outcome = yield
    setattr(item, "report_" + outcome.get_result().when, outcome.get_result())


@pytest.fixture
def site(request, tmp_path):
    """A site with the echo application. At its end nothing that it started may be left, and no sanitizer
    may have had anything to say."""
    # Unix socket paths are short: not pytest's own folder, which is long and holds the test's name.
    log = tmp_path / "sanitizer"
    one = Site(tmp_path, log)
    yield one
    left = []
    for greend in one.started:
        left += greend.clean_up()
        report = getattr(request.node, "report_call", None)
        if report is None or report.failed or left:
            print(f"--- log of greend ---\n{greend.log()}")
            print("--- heard by the service manager ---", *[d.fields for d in greend.notify.heard], sep="\n")
    reports = [path.read_text(errors="replace") for path in tmp_path.glob("sanitizer.*")]
    # A leak check that a signal interrupts says so; that is no finding.
    reports = [text for text in reports if "ERROR: " in text or "runtime error" in text]
    assert not reports, "\n".join(reports)
    assert not left, f"processes were left: {left}"
