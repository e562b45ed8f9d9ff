"""The operator's files: YAML, and the regions that clouds.yaml names; without pydantic.

Of clouds.yaml, openstacksdk's own, only what tells its regions is looked at. What is wrong is told
without its value, which may be a secret.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from openmultistack.domain.errors import ConfigurationError
from openmultistack.fleet.syntax import OnceLoader, syntax_fault
from openmultistack.fleet.vendors import regions_of_profile
from openmultistack.rereading import Reread


def read_mapping(path: Path) -> dict[str, Any]:
    """Return what a YAML file says, nothing if it is empty.

    Raises:
        ConfigurationError: it cannot be read, or is no mapping.
    """
    raw = _parsed(path, lambda text: OnceLoader(text).get_single_data())
    if not isinstance(raw, dict | None):
        found = "a list" if isinstance(raw, list) else "a single value"
        raise ConfigurationError(str(path), "", f"is {found}, expected a mapping")
    return raw or {}


def located(path: Path, keys: Sequence[object]) -> str:
    """Return keys of a file as one, with the line that they lead to."""
    at, line = _parsed(path, lambda text: yaml.compose(text, Loader=OnceLoader)), 0
    for key in keys:
        for name, value in at.value if isinstance(at, yaml.MappingNode) else ():
            if name.value == str(key):
                at, line = value, name.start_mark.line + 1
                break
        else:
            if isinstance(at, yaml.SequenceNode) and isinstance(key, int):
                at = at.value[key]
                line = at.start_mark.line + 1
    dotted = ".".join(map(str, keys))
    return f"{dotted} (line {line})" if line else dotted


def _parsed(path: Path, parse: Callable[[str], Any]) -> Any:  # noqa: ANN401  YAML
    try:
        return parse(path.read_text())
    except OSError as error:
        raise ConfigurationError(str(path), "", f"cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where, expected = syntax_fault(error)
    except (ValueError, TypeError, AttributeError, ArithmeticError, RecursionError):
        where, expected = "", "a value in it is none, as a date that no calendar has: quote it"
    # Not chained: the error shows the line, which may be a secret.
    raise ConfigurationError(str(path), where, expected)


# By `provider/Region` provider and region.
Regions = Mapping[str, tuple[str, str]]


class CloudsFile(Reread[Regions]):
    """The regions of a clouds.yaml, and of a secure.yaml beside it; safe to share.

    What it gives is another object whenever a login in them may be another one.
    """

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            ConfigurationError: as `load_regions`; or secure.yaml is there and cannot be read.
        """
        secure = path.with_name("secure.yaml")
        super().__init__(
            "clouds",
            lambda: self._regions(path, secure),
            [path, secure],
            told=lambda regions: {"regions": list(regions)},
        )

    @staticmethod
    def _regions(path: Path, secure: Path) -> Regions:
        """Return the regions; the sdk takes a secure.yaml that it cannot read for none."""
        if secure.exists():
            read_mapping(secure)
        return load_regions(path)


def load_regions(path: Path) -> dict[str, tuple[str, str]]:
    """Return the regions of a clouds.yaml: by `provider/Region` provider and region.

    Raises:
        ConfigurationError: it cannot be read, or names none; says which key and what was expected.
    """
    clouds = read_mapping(path).get("clouds")
    if clouds is None:
        raise ConfigurationError(str(path), "clouds", "is required: a mapping of at least 1 cloud")
    if not isinstance(clouds, dict) or not clouds:
        raise ConfigurationError(str(path), "clouds", "expected a mapping of at least 1 cloud")
    found: dict[str, tuple[str, str]] = {}
    wrong: list[ConfigurationError] = []
    for provider, entry in clouds.items():
        try:
            regions = list(_regions(path, f"clouds.{provider}", entry))
        except ConfigurationError as error:
            wrong.append(error)
            continue
        found |= {f"{provider}/{region}": (str(provider), region) for region in regions}
    if wrong:
        raise wrong[0].along_with(wrong[1:])
    return found


def _regions(path: Path, key: str, entry: object) -> Iterator[str]:
    """Give the names of a cloud's regions; an entry of `regions` may have values of its own."""
    if not isinstance(entry, Mapping):
        raise ConfigurationError(str(path), key, "expected a mapping")
    listed = entry.get("regions")
    if listed is not None and not isinstance(listed, list):
        raise ConfigurationError(str(path), f"{key}.regions", "expected a list of regions")
    names = [it.get("name") if isinstance(it, Mapping) else it for it in listed or ()]
    keys = [f"{key}.regions.{position}" for position in range(len(names))]
    if not names and entry.get("region_name"):
        names, keys = [entry["region_name"]], [f"{key}.region_name"]
    if not names:
        names = regions_of_profile(entry.get("profile", entry.get("cloud")))
        keys = [f"{key}.profile"] * len(names)
    if not names:
        expected = "expected `regions: [NAME, ...]` or `region_name: NAME`"
        raise ConfigurationError(str(path), key, expected)
    for where, name in zip(keys, names, strict=True):
        if not isinstance(name, str) or not name:
            raise ConfigurationError(str(path), where, "expected a region's name, a string")
        yield name


def has_application_credential(auth: Mapping[str, object]) -> bool:
    """Return whether a login is by application credential, which then need not be said."""
    return any(str(name).startswith("application_credential_") for name in auth)
