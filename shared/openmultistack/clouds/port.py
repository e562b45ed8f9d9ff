"""The port to one region's cloud: what is asked of it, and in which words it answers.

Every call has a timeout of its own and raises only the classes of CloudError; `create` is
never repeated by an adapter, as Nova makes a second server from a second POST.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

from openmultistack.domain.identity import Identity
from openmultistack.domain.models import Address, Catalogue, Offer, Resources, Status
from openmultistack.domain.regions import Place


class Attempted(NamedTuple):
    """One attempt at an instance."""

    instance_id: str
    attempt: int


class Marks(NamedTuple):
    """What a server of ours carries in its metadata: enough to rebuild the ledger."""

    fleet: str
    instance_id: str
    attempt: int
    identity: Identity

    @property
    def attempted(self) -> Attempted:
        """Which attempt the server is of."""
        return Attempted(self.instance_id, self.attempt)


class Claim(NamedTuple):
    """What a server tells of itself without proof: anybody in the project may have written it.

    `unsigned`: as marks were before they were signed. `unverified`: its signature is not of a key
    of ours, or for another place, or for other marks, or for another server.
    """

    marks: Marks
    how: Literal["unsigned", "unverified"]
    key_id: str = ""
    seal: str = ""
    signed_at_ms: int = 0
    # The server's id; '': it was not made yet.
    signed_for: str = ""
    # All of it is signed as it should be, so long (ms) before or after the server was made: it is
    # a copy, or clocks differ; 0: that is not what is wrong with it.
    off_ms: int = 0


class ServerOrder(NamedTuple):
    """One server to be made."""

    marks: Marks
    offer: Offer
    ssh_public_key: str | None = None
    user_data: str | None = None
    # Where the slot is held that it is made for; '': it is not known what the region's name means.
    place: str = ""


class Server(NamedTuple):
    """A server as the cloud shows it; `marks` is None for one that is not proven this fleet's."""

    id: str
    status: Status
    flavor: str
    image: str
    need: Resources
    addresses: tuple[Address, ...] = ()
    fault: str | None = None
    marks: Marks | None = None
    # When the cloud made it, as it writes that.
    created_at: str = ""
    # The cloud's own word, where it says more than ours; else ''.
    cloud_status: str = ""
    # Id of the key that its marks are signed with; and what it tells where it has none.
    signed_by: str = ""
    claim: Claim | None = None
    # Whose attempt's its name is, if that verifies, and by which key.
    named: Attempted | None = None
    named_by: str = ""
    # How long before or after it was made its marks were signed (ms); 0: they name its id. Of
    # several with the same marks it is the nearest's: the others' were copied.
    marks_off_ms: int = 0

    @property
    def originality(self) -> tuple[int, str, str]:
        """What sorts servers with the same marks: the original comes before its copies."""
        return self.marks_off_ms, self.created_at, self.id

    @property
    def is_out_of_reach(self) -> bool:
        """Whether its cell is down: then little more than its id is told (Nova's API guide)."""
        return self.cloud_status == "UNKNOWN"

    def tells_of(self, attempted: Attempted) -> bool:
        """Whether its marks are of an attempt: signed, or as they were before that."""
        unsigned = self.claim.marks if self.claim and self.claim.how == "unsigned" else None
        told = self.marks or unsigned
        return told is not None and told.attempted == attempted

    def is_of(self, attempted: Attempted) -> bool:
        """Whether it says that it is of the attempt that the ledger has it for, by its id."""
        claimed = self.claim is not None and self.claim.marks.attempted == attempted
        return claimed or self.named == attempted or self.tells_of(attempted)

    def seen(self, *, without_address: bool) -> "Server":
        """Return it as clients have it: ACTIVE is one with an address, unless there is none."""
        if self.status != Status.ACTIVE or self.addresses or without_address:
            return self
        return self._replace(status=Status.BUILD, cloud_status=self.cloud_status or Status.ACTIVE)


class Keypair(NamedTuple):
    """A keypair that was made for an attempt's server, by its name.

    One that is not `verified` has a name as they were before names were signed.
    """

    name: str
    attempted: Attempted
    verified: bool


class Survey(NamedTuple):
    """All servers of the project in one region, its quota, and the fleet's keypairs there."""

    servers: tuple[Server, ...]
    quota: Resources
    keypairs: tuple[Keypair, ...] = ()
    # Those with names of ours that no key of ours proves: anybody's, or of a key that was lost.
    unproven_keypairs: tuple[Keypair, ...] = ()


class Cloud(Protocol):
    """One region of one provider."""

    def create(self, order: ServerOrder, *, not_after: float = math.inf) -> str:
        """Make a server and return its id; `not_after` is of the monotonic clock, in seconds.

        Raises:
            RegionFull, CatalogueStale, OrderRefused, AccountBroken, Unreachable, RateLimited:
                nothing was made.
            TooLate: it could not be sent before `not_after`, and was not.
            PlaceMoved: the region is not the order's place, and nothing was sent.
            InDoubt: a server may exist.
        """

    def forgive(self) -> None:
        """Have a login that was refused tried at once, whatever pause it has.

        It may be other regions' as well: do so for all of them before the first one is used.
        """

    def place(self) -> Place:
        """Return what the region is by itself; asks for nothing while the login is good."""

    def delete(self, server_id: str, keypair_of: Attempted | None = None) -> str:
        """Ask for a server's end, and that of an attempt's keypair; one that is gone is no error.

        Returns what the cloud calls the request for the server's end; '' if it does not say.
        """

    def show(self, server_id: str) -> Server | None:
        """Return a server; None if the cloud has none of this id."""

    def find(self, marks: Marks) -> Server | None:
        """Return the server that carries these marks' instance and attempt, if there is one yet."""

    def present(self) -> frozenset[str]:
        """Return the ids of all servers of the project."""

    def active(self) -> Sequence[Server]:
        """Return the project's servers that the cloud shows ACTIVE."""

    def survey(self) -> Survey:
        """Return all servers of the project, its quota, and the keypairs that this fleet made."""

    def forget_keypair(self, name: str) -> str:
        """Delete a keypair; one that is gone is no error. Returns as `delete`."""

    def catalogue(self) -> Catalogue:
        """Return what the region offers."""

    def security_groups(self) -> Mapping[str, str]:
        """Return the names of the security groups that servers may be in, by their ids."""

    def mark(self, server_id: str, marks: Marks, *, whole: bool = False) -> None:
        """Write a server's marks anew, as when its expiry moved.

        `whole`: also take away what is there of other marks; what is not of marks stays.
        """

    def proves(self, claim: Claim, place: str) -> bool:
        """Whether a claim is signed for another place, as before a region's endpoint moved."""


class Clouds(Protocol):
    """All regions of the fleet."""

    def region(self, name: str) -> Cloud:
        """Return a region's cloud; opens nothing yet.

        Raises:
            NotConfigured: there is no such region.
        """

    def names(self) -> Sequence[str]:
        """Return the regions there are."""

    def close(self) -> None:
        """Give up the connections that nothing goes over now; what is under way goes on."""


class Shelf(Protocol):
    """Where processes of a fleet leave texts for one another; all of it may be lost at any time."""

    def recall(self, name: str) -> tuple[str, int] | None:
        """Return what was left under a name, and for how many ms it stays."""

    def leave(self, name: str, text: str, *, for_ms: int) -> None:
        """Leave a text under a name, in place of what was there."""

    def turn(self, name: str, *, for_ms: int) -> bool:
        """Return whether it is the caller's turn to do something, and nobody else's for a while."""

    def take_back(self, name: str) -> None:
        """Leave nothing under a name."""

    def end_turn(self, name: str) -> None:
        """Let it be somebody else's turn."""
