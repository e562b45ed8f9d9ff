"""How long what is in the library may be, and how many rooms it has at most."""

import ast
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

import pytest

LIBRARY = Path(__file__).parents[2] / "shared" / "openmultistack"
MODULE_LINES, CLASS_LINES, FUNCTION_LINES = 300, 150, 40
MEDIAN_LINES, NINTH_DECILE_LINES = 8, 20
ROOMS = 12
# What is longer for a reason.
EXCEPTED: dict[str, str] = {}
DEFINITIONS = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class Sized(NamedTuple):
    """A class or a function, by where it is, and its lines without its docstring."""

    name: str
    path: str
    lines: int
    is_class: bool


def modules() -> dict[str, str]:
    """Return the library's modules by their paths."""
    return {str(it.relative_to(LIBRARY)): it.read_text() for it in sorted(LIBRARY.rglob("*.py"))}


def sized(path: str, text: str) -> Iterator[Sized]:
    """Give the classes and the functions of a module."""
    for it in ast.walk(ast.parse(text)):
        if isinstance(it, DEFINITIONS):
            lines = _lines(it.body[ast.get_docstring(it) is not None :])
            name = f"{path}:{it.lineno} {it.name}"
            yield Sized(name, path, lines, is_class=isinstance(it, ast.ClassDef))


def _lines(body: list[ast.stmt]) -> int:
    """Return from the first line of statements to the last; a decorator is of what it decorates."""
    if not body:
        return 0
    first = min(it.lineno for it in (body[0], *getattr(body[0], "decorator_list", ())))
    return (body[-1].end_lineno or 0) - first + 1


def too_long(found: list[Sized], most: int) -> list[str]:
    """Return the offenders, each with its lines."""
    return [
        f"{it.name}: {it.lines} lines"
        for it in found
        if it.lines > most and not {it.path, it.path.partition("/")[0]} & EXCEPTED.keys()
    ]


@pytest.fixture(scope="module")
def definitions() -> list[Sized]:
    return [it for path, text in modules().items() for it in sized(path, text)]


def test_no_module_is_long() -> None:
    found = [
        Sized(path, path, len(text.splitlines()), is_class=False)
        for path, text in modules().items()
    ]
    assert not too_long(found, MODULE_LINES)


def test_an_exception_is_there_and_is_needed(definitions: list[Sized]) -> None:
    for name in EXCEPTED:
        own = [it for it in modules() if name in (it, it.partition("/")[0])]
        long = any(len(modules()[it].splitlines()) > MODULE_LINES for it in own)
        assert long or any(
            it.lines > (CLASS_LINES if it.is_class else FUNCTION_LINES)
            for it in definitions
            if it.path in own
        ), name


def test_no_class_is_long(definitions: list[Sized]) -> None:
    classes = [it for it in definitions if it.is_class]
    assert classes
    assert not too_long(classes, CLASS_LINES)


def test_no_function_is_long_and_most_are_short(definitions: list[Sized]) -> None:
    functions = [it for it in definitions if not it.is_class]
    assert not too_long(functions, FUNCTION_LINES)
    lines = [it.lines for it in functions]
    assert median(lines) <= MEDIAN_LINES
    assert quantiles(lines, n=10)[-1] <= NINTH_DECILE_LINES


def test_there_are_few_rooms() -> None:
    rooms = [it for it in LIBRARY.iterdir() if (it / "__init__.py").exists()]
    assert 1 < len(rooms) <= ROOMS


def test_what_is_counted_is_a_body_without_its_docstring() -> None:
    text = '''
class Kept:
    """What it is."""

    @property
    def short(self) -> int:
        """Return it.

        At length.
        """
        return (
            1
        )

    async def empty(self) -> None:
        """Nothing."""
'''
    found = {it.name.partition(" ")[2]: it.lines for it in sized("m.py", text)}
    assert found == {"Kept": 12, "short": 3, "empty": 0}
