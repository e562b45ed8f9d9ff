"""clouds.yaml and fleet.yaml -> Fleet: the regions, and what image and size mean in each."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from openmultistack.domain.commands import Cap, Frozen, OwnerQuota, SizeWanted
from openmultistack.domain.errors import FAULTS_SHOWN, ConfigurationError
from openmultistack.domain.faults import Fault, explain_file
from openmultistack.fleet.files import load_regions, located, read_mapping

T = TypeVar("T")
Model = TypeVar("Model", bound=BaseModel)
# Of a long list of regions so many are named.
SHOWN = 10
Pattern = Annotated[str, StringConstraints(min_length=1)]


class RegionRule(Frozen):
    """What fleet.yaml says of the regions that a pattern matches."""

    enabled: bool = True
    cap: Cap = Cap()
    priority: int = 0
    price: float = Field(default=0.0, ge=0)
    # How many servers may be built there at once, and how many started in a minute.
    max_building: int | None = Field(default=None, ge=1)
    starts_per_minute: int | None = Field(default=None, ge=1)
    # Seconds after which a server that is still being built is given up, and tried elsewhere.
    build_timeout: int = Field(default=600, ge=30)
    network: str | None = None
    security_groups: tuple[str, ...] = ()
    # `none`: the cloud shows no addresses of its servers, so that ACTIVE does not wait for one.
    addresses: Literal["awaited", "none"] = "awaited"


class ImageRule(Frozen):
    """Which of a region's images is meant: by name pattern, by properties, or both."""

    name: Pattern | None = None
    os_distro: str | None = None
    os_version: str | None = None
    properties: Mapping[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.name is None and not self.wanted():
            raise ValueError("expected a name or properties: this stands for any image at all")
        return self

    def wanted(self) -> dict[str, str]:
        """Return the properties that an image must have."""
        named = {"os_distro": self.os_distro, "os_version": self.os_version}
        return {key: value for key, value in named.items() if value is not None} | dict(
            self.properties
        )


class OwnerRule(Frozen):
    """What an owner may have; times in seconds."""

    default_ttl: int = Field(default=3600, ge=1)
    max_ttl: int = Field(default=86400, ge=1)
    quota: OwnerQuota = OwnerQuota()
    # So many creates are taken in a minute, each one whatever its count; None: any number. As many
    # at once pass the largest matrix of a CI run (256 jobs), and are what GitHub registers in a
    # minute of one organisation's runners.
    commands_per_minute: int | None = Field(default=300, ge=1)
    # Of their instances that wait; lower goes first.
    priority: int = Field(default=0, ge=-1000, le=1000)

    @model_validator(mode="after")
    def _default_is_allowed(self) -> Self:
        if self.default_ttl > self.max_ttl:
            raise ValueError(
                f"default_ttl is {self.default_ttl}, expected at most max_ttl ({self.max_ttl})"
            )
        return self


class QueueRule(Frozen):
    """How many instances may wait, in all and of one owner, and how long each (seconds)."""

    max: int = Field(default=1000, ge=0, le=10_000)
    # If nothing is said a quarter of `max`: no owner can keep all others out.
    max_per_owner: int | None = Field(default=None, ge=0, le=10_000)
    max_wait: int = Field(default=3600, ge=1, le=86400)

    @property
    def of_owner(self) -> int:
        """How many of one owner's may wait."""
        if self.max_per_owner is None:
            return -(-self.max // 4)
        return min(self.max, self.max_per_owner)


class FleetFile(Frozen):
    """fleet.yaml. In each mapping of patterns the first that matches a region counts."""

    regions: Mapping[Pattern, RegionRule] = Field(default_factory=dict)
    images: Mapping[str, Mapping[Pattern, Pattern | ImageRule]] = Field(default_factory=dict)
    sizes: Mapping[str, SizeWanted | Mapping[Pattern, Pattern]] = Field(default_factory=dict)
    owners: Mapping[str, OwnerRule] = Field(default_factory=dict)
    queue: QueueRule = QueueRule()
    # Servers of before marks were signed, which the ledger does not know: adopted, or foreign. If
    # nothing is said they are adopted until one sweep of their region has found none.
    unsigned_marks: Literal["adopt", "foreign"] | None = None

    def owner_rule(self, owner: str) -> OwnerRule:
        """Return what an owner may have: their own rule, or `default`, or ours."""
        return self.owners.get(owner) or self.owners.get("default") or OwnerRule()


class Region(Frozen):
    """One region of the fleet as configured."""

    name: str
    provider: str
    region: str
    rule: RegionRule = RegionRule()


class Fleet(Frozen):
    """All regions served by one ledger."""

    regions: Mapping[str, Region]
    file: FleetFile = FleetFile()
    # They take nothing new, and are swept until they are empty.
    disabled: Mapping[str, Region] = Field(default_factory=dict)

    @property
    def configured(self) -> Mapping[str, Region]:
        """All regions that clouds.yaml names, those that take part first."""
        return {**self.regions, **self.disabled}

    def shows_no_address(self, name: str) -> bool:
        """Return whether a region's servers are ACTIVE without an address."""
        region = self.configured.get(name)
        return region is not None and region.rule.addresses == "none"


def first_match(rules: Mapping[str, T], region: str) -> T | None:
    """Return the rule of the first pattern that matches a region's name."""
    return next((rule for pattern, rule in rules.items() if fnmatchcase(region, pattern)), None)


def load_fleet_file(path: Path) -> FleetFile:
    """Return the operator's fleet.yaml.

    Raises:
        ConfigurationError: it is missing or wrong; says which key and what was expected.
    """
    return _parse(path, FleetFile)


def load_fleet(clouds_file: Path, fleet_file: Path | None) -> Fleet:
    """Return the fleet of the operator's two files.

    Raises:
        ConfigurationError: a file is missing or wrong; says which key and what was expected.
    """
    file, known = _read(clouds_file, fleet_file)
    regions = [
        Region(name=name, provider=provider, region=region, rule=_rule(file, name))
        for name, (provider, region) in known.items()
    ]
    fleet = Fleet(
        regions={it.name: it for it in regions if it.rule.enabled},
        disabled={it.name: it for it in regions if not it.rule.enabled},
        file=file,
    )
    if fleet_file:
        _refuse_idle_patterns(fleet_file, file, [region.name for region in regions])
    return fleet


def _read(
    clouds_file: Path, fleet_file: Path | None
) -> tuple[FleetFile, Mapping[str, tuple[str, str]]]:
    """Return what both files say; if one is wrong the other is looked at all the same."""
    try:
        file = load_fleet_file(fleet_file) if fleet_file else FleetFile()
    except ConfigurationError as error:
        try:
            load_regions(clouds_file)
        except ConfigurationError as other:
            error.along_with([other])
        raise
    return file, load_regions(clouds_file)


def _rule(file: FleetFile, region: str) -> RegionRule:
    return first_match(file.regions, region) or RegionRule()


def _refuse_idle_patterns(path: Path, file: FleetFile, regions: Sequence[str]) -> None:
    """A pattern that matches nothing is a slip of the pen, and would be silent for ever."""
    used: list[tuple[str, Mapping[str, object]]] = [("regions", file.regions)]
    used += [(f"images.{name}", rules) for name, rules in file.images.items()]
    used += [
        (f"sizes.{name}", rule) for name, rule in file.sizes.items() if isinstance(rule, Mapping)
    ]
    idle: list[Fault] = []
    for key, rules in used:
        for pattern in rules:
            if not any(fnmatchcase(region, pattern) for region in regions):
                said = f"matches no region; expected a pattern for one of {_some(regions)}"
                if key.startswith("sizes.") and pattern in SizeWanted.model_fields:
                    said = "is a text, expected a whole number"
                idle.append(Fault((*key.split("."), pattern), said))
    if idle:
        raise _refusal(path, idle[:FAULTS_SHOWN], len(idle[FAULTS_SHOWN:]))


def _refusal(path: Path, faults: Sequence[Fault], more: int) -> ConfigurationError:
    first, *others = [
        ConfigurationError(str(path), located(path, it.path), it.said) for it in faults
    ]
    return first.along_with(others, more)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _parse(path: Path, model: type[Model]) -> Model:
    document = read_mapping(path)
    try:
        return model.model_validate(document)
    except ValidationError as error:
        faults, more = explain_file(error, document, model, most=FAULTS_SHOWN)
    # Not chained: a traceback would show the value, which may be a secret.
    raise _refusal(path, faults, more)
