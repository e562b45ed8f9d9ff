"""YAML that is read strictly, and what is wrong with it in our words."""

import re
from typing import Any

import yaml

_KEY_CHARS = 60
_WITHIN = "stands within itself, by an alias"
_QUOTES = "put the text in quotes"
# What was found, by what the parser says.
_FOUND = (
    (r"character '\\t'", "a tab; indent with spaces"),
    (r"cannot start any token", f"a character that no plain text may begin with: {_QUOTES}"),
    (r"mapping values are not allowed", f"a colon that is out of place: {_QUOTES}, or indent it"),
    (r"undefined alias|alphabetic or numeric", f"a text that begins with * or &: {_QUOTES}"),
    (r"constructor for the tag", f"a text that begins with !: {_QUOTES}"),
    (r"unexpected end of stream", "the end of the file inside a text in quotes"),
    (r"expected ',' or", "a bracket that is not closed, or no comma"),
    (r"expected the node content", "a bracket that is not closed, or nothing after a comma"),
    (r"expected <block end>|expected ':'", "a line whose indentation or colon is wrong"),
    (r"unknown escape|expected escape", "a backslash in double quotes: take single ones"),
    (r"not allowed|codec", "a character that is no text"),
)


class OnceLoader(yaml.SafeLoader):
    """Plain values only, and no key twice: of two the parser would silently take the last.

    Nor does anything stand within itself, by an alias: who reads it would come to no end.
    """

    def __init__(self, stream: Any) -> None:  # noqa: ANN401  theirs
        super().__init__(stream)
        self._open: list[Any] = []

    def compose_node(self, parent: Any, index: Any) -> yaml.Node | None:  # noqa: ANN401  theirs
        """Read anything.

        Raises:
            ComposerError: it is an alias of what it stands in.
        """
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        anchor, is_alias = getattr(event, "anchor", None), self.check_event(yaml.AliasEvent)
        if is_alias and anchor in self._open:
            raise yaml.composer.ComposerError(None, None, _WITHIN, event.start_mark)
        self._open.append(anchor)
        try:
            return super().compose_node(parent, index)
        finally:
            self._open.pop()

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:  # noqa: ANN401  theirs
        """Read a mapping.

        Raises:
            ComposerError: it has a key twice.
        """
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value if node else ():
            named = (key.tag, str(key.value))
            if named in lines:
                said = f"{named[1][:_KEY_CHARS]} is there twice, first in line {lines[named]}"
                raise yaml.composer.ComposerError(None, None, said, key.start_mark)
            lines[named] = key.start_mark.line + 1
        return node


def syntax_fault(error: Exception) -> tuple[str, str]:
    """Return where a text is no YAML, and what was expected."""
    mark = getattr(error, "problem_mark", None)
    problem = str(getattr(error, "problem", "") or error)
    where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    if "is there twice" in problem or problem == _WITHIN:
        return where, problem
    found = next((it for words, it in _FOUND if re.search(words, problem)), "")
    return where, f"expected YAML; found {found}" if found else "expected YAML"
