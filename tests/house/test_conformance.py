"""Each CONFORMANCE.md names tests and corpus cases that exist, at least one a clause."""

import re
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
PAGES = [TOP / "tests/http/CONFORMANCE.md", TOP / "tests/python/CONFORMANCE.md"]


def rows():
    """(clause, names) of every table row but the headings."""
    for line in "\n".join(page.read_text() for page in PAGES).splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| ") and cells[0] not in ("clause", "---"):
            assert len(cells) == 2, line
            yield cells[0], re.findall(r"`([^`]+)`", cells[1])


def known_tests():
    found = set()
    for path in (TOP / "tests").rglob("*_test.cpp"):
        for suite, name in re.findall(r"^TEST(?:_F|_P)?\(\s*(\w+),\s*(\w+)\s*\)", path.read_text(), re.MULTILINE):
            found.add(f"{suite}.{name}")
    return found


def known_cases():
    return {f"{path.name}: {title}" for path in (TOP / "tests/http/cases").glob("*.md")
            for title in re.findall(r"^## (.+)$", path.read_text(), re.MULTILINE)}


def known_functions():
    return {f"{path.name}: {name}" for folder in ("integration", "system") for path in (TOP / "tests" / folder).glob("test_*.py")
            for name in re.findall(r"^def (test_\w+)\(", path.read_text(), re.MULTILINE)}


def test_each_clause_names_tests_that_exist():
    known = known_tests() | known_cases() | known_functions()
    table = list(rows())
    assert len(table) > 50
    assert [clause for clause, names in table if not names] == []
    assert sorted({name for _, names in table for name in names} - known) == []


def test_each_refused_request_of_the_corpus_proves_a_clause():
    named = {name for _, names in rows() for name in names}
    assert sorted(case for case in known_cases() if case.startswith("malformed.md: ") and case not in named) == []
