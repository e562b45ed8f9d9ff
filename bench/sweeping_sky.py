"""A fleet's clouds to sweep: what is in them, what the ledger knows of it, what changes there."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx
import stage
from ulid import ULID

from openmultistack.clouds import Marks
from openmultistack.clouds.fake_nova import KEYRING
from openmultistack.clouds.marks import metadata_of
from openmultistack.clouds.names import name_of
from openmultistack.clouds.signing import Signing
from openmultistack.domain.commands import CreateInstances
from openmultistack.domain.identity import Identity
from openmultistack.domain.models import (
    Catalogue,
    Flavor,
    Image,
    Network,
    Offer,
    Resources,
)
from openmultistack.ledger import Ledger, Wish

INSTANCES = 20
DAY_S = 86_400
# What has changed in a region: two of these, in turn.
CHANGES = ("gone", "built", "expired")
FLAVOR = Flavor(id="f", name=stage.SIZE, vcpus=1, ram_mb=512, disk_gb=1)
IMAGE = Image(id="i", name=stage.IMAGE)
NETWORK = Network(id="n", name="ci-net")
OFFERED = Catalogue(flavors=(FLAVOR,), images=(IMAGE,), networks=(NETWORK,))
CAP = Resources(instances=INSTANCES, vcpus=INSTANCES, ram_mb=INSTANCES * FLAVOR.ram_mb)
COMMAND = CreateInstances(
    image=IMAGE.name, size=FLAVOR.name, count=INSTANCES, name="ci", labels={"run": "4711"}
)
OWNER = "bench"
# The simulation is one process, and so is who asks it: more than a few at once gain nothing.
FILLED_AT_ONCE = 4


class Sky:
    """A fleet's clouds, and what happens in them."""

    def __init__(self, sim: stage.Sim, fleet: str, control: httpx.Client) -> None:
        self._control = control
        self._fleet = fleet
        self.sim = sim
        # Of each region its servers: instance id and server id.
        self.servers: dict[str, list[tuple[str, str]]] = {}

    def fill(self, ledger: Ledger, place_of: Callable[[str], str]) -> None:
        """Give every region twenty instances whose creates are not proven in the ledger yet.

        The last server of each is still being built.
        """
        with ThreadPoolExecutor(FILLED_AT_ONCE) as pool:
            regions = list(self.sim.ask("stats")["regions"])
            made = pool.map(lambda it: self._fill(ledger, it, place_of(it)), regions)
            self.servers = dict(zip(regions, made, strict=True))

    def _fill(self, ledger: Ledger, region: str, place: str) -> list[tuple[str, str]]:
        offer_all(ledger, [region])
        instances = [f"i-{ULID()}" for _ in range(INSTANCES)]
        offer = Offer(region=region, flavor=FLAVOR, image=IMAGE, network=NETWORK)
        wish = Wish(OWNER, COMMAND, instances, [offer], "first", ttl_ms=DAY_S * 1000)
        placed = ledger.place(wish)
        marks = [self._marks(it.instance_id, placed.created_at_ms) for it in placed.attempts]
        signing = Signing(KEYRING, self._fleet, place)
        asked = [
            {"name": name_of(signing, it.attempted), "metadata": metadata_of(it, signing)}
            for it in marks
        ]
        answer = self._control.post(self._of(region), json=asked).raise_for_status()
        servers = [it["id"] for it in answer.json()]
        self._change(region, built=servers[:-1])
        return list(zip(instances, servers, strict=True))

    def _marks(self, instance: str, created_at_ms: int) -> Marks:
        return Marks(
            fleet=self._fleet,
            instance_id=instance,
            attempt=1,
            identity=Identity(
                OWNER, COMMAND.name, COMMAND.labels, created_at_ms, created_at_ms + DAY_S * 1000
            ),
        )

    def change(self, ledger: Ledger) -> None:
        """Change two of twenty in every region."""
        for at, (region, servers) in enumerate(self.servers.items()):
            for what in (CHANGES[at % 3], CHANGES[(at + 1) % 3]):
                instance, server = servers[{"gone": 0, "expired": 1, "built": -1}[what]]
                if what == "expired":
                    ledger.renew(instance, 1)
                else:
                    self._change(region, **{what: [server]})

    def _change(self, region: str, **ids: Sequence[str]) -> None:
        self._control.patch(self._of(region), json=ids).raise_for_status()

    def _of(self, region: str) -> str:
        return f"{self.sim.url}/sim/regions/{region}/servers"


def offer_all(ledger: Ledger, regions: Sequence[str]) -> None:
    """Tell the ledger what regions offer: it is read every ten minutes only, and not measured."""
    for it in regions:
        ledger.survey(it, cap=CAP, foreign=Resources(), catalogue=OFFERED)
