"""What the lab consists of: providers, regions, their names and their ports. Nothing is done here.

No two regions share a name for a flavor, an image or a network, as no two real providers do.
"""

from dataclasses import dataclass

from errors import LabError

HOST = "127.0.0.1"
PASSWORD = "lab-secret"
COMPUTE_HOST = "compute-1"

# provider -> how far its Keystone's port is from the first port of the lab
KEYSTONE_PORT_OFFSETS = {"alpha": 0, "beta": 1000}
DATABASE_PORT_OFFSET = 306
# service -> how far its port is from its region's first one
SERVICE_PORT_OFFSETS = {"nova": 74, "placement": 78, "glance": 92, "neutron": 96}


@dataclass(frozen=True)
class Flavor:
    """A size on offer; the attributes have the names that Nova's API gives them, and its units."""

    name: str
    vcpus: int
    ram: int  # MiB
    disk: int  # GiB


@dataclass(frozen=True)
class Image:
    """An image on offer; the properties are those a client may match on."""

    name: str
    os_distro: str
    os_version: str


@dataclass(frozen=True)
class Network:
    """A network of project `ci`, or one that every project shares."""

    name: str
    cidr: str
    shared: bool = False


@dataclass(frozen=True)
class Region:
    """One region: a Placement, a Glance, a Neutron and a Nova of its own."""

    provider: str
    name: str
    port_offset: int
    flavors: tuple[Flavor, ...]
    images: tuple[Image, ...]
    networks: tuple[Network, ...]

    @property
    def label(self) -> str:
        """How commands name it: `alpha/RegionOne`."""
        return f"{self.provider}/{self.name}"

    def process(self, service: str) -> str:
        """How `status` and `kill` name one of its services: `alpha-RegionOne-nova`."""
        return f"{self.provider}-{self.name}-{service}"


# In every region, and too large for its host, which has 1000 vCPUs.
TOO_BIG = Flavor("too.big", 2000, 1024, 1)

REGIONS = (
    Region(
        provider="alpha",
        name="RegionOne",
        port_offset=100,
        flavors=(
            Flavor("m1.tiny", 1, 512, 1),
            Flavor("m1.small", 1, 2048, 20),
            Flavor("m1.medium", 2, 4096, 40),
            TOO_BIG,
        ),
        images=(
            Image("ubuntu-24.04", "ubuntu", "24.04"),
            Image("debian-12", "debian", "12"),
        ),
        networks=(Network("ci-net", "10.10.0.0/20"),),
    ),
    Region(
        provider="alpha",
        name="RegionTwo",
        port_offset=200,
        flavors=(
            Flavor("c2.xsmall", 1, 512, 1),
            Flavor("c2.small", 1, 2048, 20),
            Flavor("c2.medium", 2, 4096, 40),
            TOO_BIG,
        ),
        images=(
            Image("Ubuntu Noble 24.04 LTS [2026-10]", "ubuntu", "24.04"),
            Image("Debian Bookworm [2026-10]", "debian", "12"),
        ),
        # Two that a client may use: Nova then refuses a server that names none.
        networks=(
            Network("shared-net", "10.20.0.0/20", shared=True),
            Network("storage-net", "10.30.0.0/20", shared=True),
        ),
    ),
    Region(
        provider="beta",
        name="RegionOne",
        port_offset=1100,
        flavors=(
            Flavor("b1.nano", 1, 512, 1),
            Flavor("b1.small", 1, 2048, 20),
            Flavor("b1.large", 2, 4096, 40),
            TOO_BIG,
        ),
        images=(
            Image("ubuntu-24.04-x86_64", "ubuntu", "24.04"),
            Image("debian-12-x86_64", "debian", "12"),
        ),
        networks=(Network("tenant-net", "10.40.0.0/20"),),
    ),
)


def regions_of(provider: str) -> list[Region]:
    """The regions behind one provider's Keystone."""
    return [region for region in REGIONS if region.provider == provider]


def region_labelled(label: str) -> Region:
    """The region that a command names.

    Raises:
        LabError: no region has that name.
    """
    for region in REGIONS:
        if region.label == label:
            return region
    known = ", ".join(region.label for region in REGIONS)
    raise LabError(f"no region {label!r}: there are {known}")
