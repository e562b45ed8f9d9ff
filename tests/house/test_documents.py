"""What the documents name is there: files, names of the code, pages, headings, keys, acts."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
LIBRARY = ROOT / "shared" / "openmultistack"
TOP = ("README.md", "CONTRIBUTING.md", "SECURITY.md")
DOCUMENTS = sorted([*(ROOT / name for name in TOP), *(ROOT / "docs").rglob("*.md")])
IDS = [str(it.relative_to(ROOT)) for it in DOCUMENTS]
# Of a path in backticks: it begins with one of the repository's folders, and has no blank in it.
FOLDERS = ("shared", "functions", "infra", "tests", "bench", "docs", ".github", ".ci")


def shown(text: str) -> str:
    """Return a document without its blocks of code."""
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)


def paths_in(text: str) -> Iterator[str]:
    """Yield the repository's paths that a text has in backticks, alone or in a command."""
    for quoted in re.findall(r"`([^`\n]+)`", shown(text)):
        for word in quoted.split():
            if word.startswith(tuple(f"{it}/" for it in FOLDERS)) and "…" not in word:
                yield word.partition("::")[0]


@cache
def sources() -> frozenset[str]:
    """Return every file of code, each as `/` and its path."""
    folders = [ROOT / it for it in ("shared", "functions", "infra", "tests", "bench")]
    found = [it for folder in folders for end in ("py", "lua") for it in folder.rglob(f"*.{end}")]
    return frozenset(f"/{it.relative_to(ROOT)}" for it in found)


def links_in(text: str) -> Iterator[str]:
    """Yield where links lead that stay in the repository."""
    for link in re.findall(r"\]\(([^)\s]+)\)", shown(text)):
        if "://" not in link:
            yield link


def headings(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as forges make them."""
    found = re.findall(r"^#+ (.+)$", shown(page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", it.lower()).replace(" ", "-") for it in found}


def defined(module: Path) -> set[str]:
    """Return the names that a module defines."""
    names: set[str] = set()
    for it in ast.parse(module.read_text()).body:
        if isinstance(it, ast.ClassDef | ast.FunctionDef):
            names.add(it.name)
        targets = it.targets if isinstance(it, ast.Assign) else [getattr(it, "target", None)]
        for target in targets:
            names |= (
                {at.id for at in ast.walk(target) if isinstance(at, ast.Name)} if target else set()
            )
    return names


def is_home(home: str) -> bool:
    """Return whether a home of the glossary is there: a path, or a name in a module."""
    folders = (LIBRARY, ROOT)
    if any((it / home).exists() for it in folders):
        return True
    path, _, name = home.rpartition(".")
    module = LIBRARY / f"{path}.py"
    return bool(path) and module.is_file() and name in defined(module)


@pytest.mark.parametrize("document", DOCUMENTS, ids=IDS)
def test_every_path_that_a_document_names_is_there(document: Path) -> None:
    named = list(paths_in(document.read_text()))
    assert [it for it in named if not list(ROOT.glob(it.rstrip("/.,")))] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=IDS)
def test_every_file_of_code_that_a_document_names_is_there(document: Path) -> None:
    """With its path or without."""
    named = re.findall(r"`([\w./-]+\.(?:py|lua))`", shown(document.read_text()))
    assert [it for it in named if not any(at.endswith(f"/{it}") for at in sources())] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=IDS)
def test_every_link_leads_to_a_page_and_its_heading(document: Path) -> None:
    lost = []
    for link in links_in(document.read_text()):
        path, _, heading = link.partition("#")
        page = (document.parent / path).resolve() if path else document
        if not page.exists() or (heading and heading not in headings(page)):
            lost.append(link)
    assert lost == []


def test_every_home_of_the_glossary_is_there() -> None:
    page = (ROOT / "docs" / "glossary.md").read_text()
    rows = re.findall(r"^\| \*\*.*\| ([^|]+) \|$", page, re.MULTILINE)
    homes = [home for row in rows for home in re.findall(r"`([^`]+)`", row)]
    assert len(homes) > len(rows) / 2
    assert [it for it in homes if not is_home(it)] == []


def test_no_word_of_the_glossary_is_told_twice() -> None:
    page = (ROOT / "docs" / "glossary.md").read_text()
    words = re.findall(r"^\| \*\*(.+?)\*\*", page, re.MULTILINE)
    assert sorted(words) == sorted(set(words))


def test_every_page_is_linked_from_another() -> None:
    """A page that nothing leads to is not found."""
    linked = {
        (it.parent / link.partition("#")[0]).resolve()
        for it in DOCUMENTS
        for link in links_in(it.read_text())
    }
    assert [it for it in DOCUMENTS if it not in linked and it.name != "README.md"] == []


def test_the_ledgers_page_has_every_act_and_every_key() -> None:
    page = (ROOT / "docs" / "ledger.md").read_text()
    acts = {it.name for it in (LIBRARY / "ledger").glob("*.lua") if not it.name.startswith("_")}
    keys = set(
        re.findall(r'_prefix(?:\}| \+ ")([a-z-]+)', (LIBRARY / "ledger" / "keys.py").read_text())
    )
    assert len(keys) > 30
    assert acts == set(re.findall(r"`([a-z_]+\.lua)`", page))
    assert keys == set(re.findall(r"`([a-z-]+)(?::[A-Z:]+)?`", page.split("## Acts")[0]))


def test_the_ledgers_page_names_the_module_of_each_acts_method() -> None:
    page = (ROOT / "docs" / "ledger.md").read_text()
    rows = re.findall(r"^\| (`[a-z_]+\.lua`.*?) \|.*\| `(\w+\.py)` \|$", page, re.MULTILINE)
    told = {act: module for acts, module in rows for act in re.findall(r"`(\w+)\.lua`", acts)}
    acts = {it.stem for it in (LIBRARY / "ledger").glob("*.lua") if not it.name.startswith("_")}
    assert set(told) == acts
    for act, module in told.items():
        assert f'"{act}",' in (LIBRARY / "ledger" / module).read_text(), act


def test_each_name_that_a_page_says_to_be_in_a_module_is_there() -> None:
    """As in "`Offer` in `shared/openmultistack/domain/models.py`"."""
    said = [
        found
        for document in DOCUMENTS
        for found in re.findall(r"`(\w+)`\s+in\s+`([\w./-]+\.\w+)`", shown(document.read_text()))
        if (ROOT / found[1]).is_file()
    ]
    assert len(said) > 20
    assert [it for it in said if not re.search(rf"\b{it[0]}\b", (ROOT / it[1]).read_text())] == []


def test_every_test_that_a_document_names_is_there() -> None:
    named = {
        name
        for document in DOCUMENTS
        for name in re.findall(r"`(test_\w+)`", shown(document.read_text()))
    }
    tests = "".join(f"{it.read_text()}\n" for it in (ROOT / "tests").rglob("*.py"))
    assert len(named) > 5
    assert sorted(it for it in named if f"def {it}(" not in tests) == []


def test_the_architectures_page_has_every_room() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    rooms = {it.parent.name for it in LIBRARY.glob("*/__init__.py")}
    told = re.findall(r"^\| \d \| `shared/openmultistack/(\w+)/`", page, re.MULTILINE)
    assert rooms == set(told)
