"""The port over openstacksdk: the only code that imports it."""

import base64
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from http import HTTPStatus
from pathlib import Path
from typing import Any, cast

import openstack
from openstack import utils
from openstack.compute.v2 import server as compute_server

from openmultistack.clouds.connections import CONNECT_TIMEOUT_S, Hosts, ImpatientAdapter
from openmultistack.clouds.failures import refusal, said, translate
from openmultistack.clouds.logins import Login, SharingSession
from openmultistack.clouds.marks import keypair_attempt, marks_of, metadata_of, tag_of
from openmultistack.clouds.port import Cloud, Marks, Server, ServerOrder, Shelf, Survey
from openmultistack.clouds.sealing import SealedShelf
from openmultistack.errors import CloudError, InDoubt, OrderRefused, TooLate, Unreachable
from openmultistack.models import (
    Address,
    Catalogue,
    Flavor,
    Image,
    Network,
    Resources,
    Status,
)

READ_TIMEOUT_S = 30.0
# Of a look after a server whose answer was lost: somebody waits, and a sweep looks as well.
LOOK_TIMEOUT_S = 10.0
# 2.47 puts the flavor's numbers into a server, 2.52 takes tags in a create; 2.90 is old enough
# (2021) to be common, and what a cloud does not know is left out.
MICROVERSION = "2.90"
TAGS_SINCE = (2, 52)
# Nova's -1; far beyond any fleet, and still an exact number in Lua.
UNLIMITED = 10**9


class OpenStackClouds:
    """All regions of clouds.yaml; a connection is made at a region's first use, and kept.

    With a shelf, logins and what endpoints offer are shared with all who have the same one.
    """

    def __init__(
        self,
        clouds_file: Path,
        regions: Mapping[str, tuple[str, str]],
        *,
        fleet: str,
        shelf: Shelf | None = None,
    ) -> None:
        self._file = clouds_file
        self._regions = regions
        self._fleet = fleet
        self._shelf = shelf
        self._clouds: dict[str, OpenStackCloud] = {}
        self._logins: dict[str, Login] = {}
        self._hosts = Hosts()
        self._lock = threading.Lock()

    def names(self) -> Sequence[str]:
        """Return the regions there are."""
        return list(self._regions)

    def region(self, name: str) -> Cloud:
        """Return a region's cloud; opens nothing yet."""
        with self._lock:
            if name not in self._clouds:
                provider, region = self._regions[name]
                self._clouds[name] = OpenStackCloud(
                    lambda: self._connect(provider, region), fleet=self._fleet
                )
            return self._clouds[name]

    @cached_property
    def _config(self) -> Any:  # noqa: ANN401  the sdk is untyped
        return openstack.config.OpenStackConfig(
            config_files=[str(self._file)],
            load_envvars=False,
            app_name="openmultistack",
            session_constructor=SharingSession,
        )

    def _connect(self, provider: str, region: str) -> tuple[Any, Login]:
        with self._lock:
            config = self._config.get_one(provider, region_name=region, api_timeout=READ_TIMEOUT_S)
            if provider not in self._logins:
                shelf = SealedShelf(self._shelf, provider, config.get_auth_args())
                self._logins[provider] = Login(shelf)
        connection, login = openstack.connection.Connection(config=config), self._logins[provider]
        session = cast("SharingSession", connection.session)
        for scheme in ("http://", "https://"):
            session.session.mount(scheme, ImpatientAdapter(self._hosts))
        session.discoveries.shelf = login.shelf
        return connection, login


class OpenStackCloud:
    """One region over openstacksdk; safe to share between threads."""

    def __init__(self, connect: Callable[[], tuple[Any, Login]], *, fleet: str) -> None:
        self._connect = connect
        self._fleet = fleet
        self._connecting = threading.Lock()

    @cached_property
    def _connection(self) -> tuple[Any, Login]:
        return self._connect()

    @contextmanager
    def _session(self, *, sending: bool = False) -> "Iterator[Any]":
        """Give the connection, logged in; whatever fails comes out as a CloudError.

        With `sending` a failure after the login may have reached the cloud.
        """
        sent = False
        try:
            with self._connecting:
                connection, login = self._connection
            token = login.ready(connection.session)
            connection.compute.get_endpoint_data()
            sent = sending
            try:
                yield connection
            finally:
                login.noticed(connection.session, token)
        except Exception as error:
            raise translate(error, sent=sent) from error

    def create(self, order: ServerOrder, *, not_after: float = math.inf) -> str:
        """Make a server and return its id; sends the POST once, and not after its time."""
        if not order.ssh_public_key:
            return self._create_server(order, not_after)
        self._import_keypair(order)
        try:
            return self._create_server(order, not_after)
        except InDoubt:
            raise
        except CloudError:
            with suppress(CloudError):  # what fails here leaves a name, for a sweep to find
                self.forget_keypair(order.marks.keypair or "")
            raise

    def _create_server(self, order: ServerOrder, not_after: float) -> str:
        with self._session(sending=True) as connection:
            body = self._body(connection, order)
            if time.monotonic() > not_after:
                raise TooLate("not sent: its lease was nearly over")
            answer = connection.compute.post(
                "/servers",
                json={"server": body},
                microversion=self._microversion(connection),
                timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S),
            )
            if answer.status_code != HTTPStatus.ACCEPTED:
                raise refusal(answer.status_code, answer.text, answer.headers)
            return _made_id(answer)

    def _body(self, connection: Any, order: ServerOrder) -> dict[str, Any]:  # noqa: ANN401
        offer, marks = order.offer, order.marks
        body: dict[str, Any] = {
            "name": marks.server_name,
            "flavorRef": offer.flavor.id,
            "imageRef": offer.image.id,
            "networks": [{"uuid": offer.network.id}],
            "metadata": metadata_of(marks),
        }
        if _supports(self._microversion(connection), TAGS_SINCE):
            body["tags"] = [tag_of(marks.fleet)]
        if order.user_data is not None:
            body["user_data"] = base64.b64encode(order.user_data.encode()).decode()
        if marks.keypair:
            body["key_name"] = marks.keypair
        if offer.security_groups:
            body["security_groups"] = [{"name": name} for name in offer.security_groups]
        return body

    def _import_keypair(self, order: ServerOrder) -> None:
        body = {"name": order.marks.keypair, "public_key": order.ssh_public_key, "type": "ssh"}
        with self._session() as connection:
            answer = connection.compute.post(
                "/os-keypairs",
                json={"keypair": body},
                microversion="2.2",  # the first that takes a type
                timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S),
            )
            # 409: this attempt's own keypair is there already.
            if answer.status_code == HTTPStatus.BAD_REQUEST:
                raise OrderRefused(said(answer.status_code, answer.text))
            if not answer.ok and answer.status_code != HTTPStatus.CONFLICT:
                refused = refusal(answer.status_code, answer.text, answer.headers)
                # Whatever became of the keypair: no server was made.
                raise Unreachable(str(refused)) if isinstance(refused, InDoubt) else refused

    def forget_keypair(self, name: str) -> None:
        """Delete a keypair; one that is gone is no error."""
        with self._session() as connection:
            connection.compute.delete_keypair(name, ignore_missing=True)

    def delete(self, server_id: str, keypair: str | None = None) -> None:
        """Ask for a server's end, and that of its own keypair; one that is gone is no error."""
        with self._session() as connection:
            connection.compute.delete_server(server_id, ignore_missing=True)
            if keypair:
                connection.compute.delete_keypair(keypair, ignore_missing=True)

    def show(self, server_id: str) -> Server | None:
        """Return a server; None if the cloud has none of this id."""
        with self._session() as connection:
            try:
                return self._server(connection.compute.get_server(server_id))
            except openstack.exceptions.NotFoundException:
                return None

    def find(self, marks: Marks) -> Server | None:
        """Return the server that carries these marks' instance and attempt, if there is one yet.

        Nova takes the name for a regular expression; the marks decide, not the name.
        """
        with self._session() as connection:
            answer = connection.compute.get(
                "/servers/detail",
                params={"name": f"^{marks.server_name}$"},
                microversion=self._microversion(connection),
                timeout=(CONNECT_TIMEOUT_S, LOOK_TIMEOUT_S),
            )
            openstack.exceptions.raise_from_response(answer)
            named = [compute_server.Server.existing(**it) for it in answer.json()["servers"]]
        wanted = (marks.instance_id, marks.attempt)
        for server in map(self._server, named):
            if server.marks and (server.marks.instance_id, server.marks.attempt) == wanted:
                return server
        return None

    def present(self) -> frozenset[str]:
        """Return the ids of all servers of the project."""
        with self._session() as connection:
            return frozenset(it.id for it in connection.compute.servers(details=False))

    def survey(self) -> Survey:
        """Return all there is and the quota, in three calls (more pages aside)."""
        with self._session() as connection:
            servers = tuple(self._server(it) for it in connection.compute.servers(details=True))
            keypairs = [it.name for it in connection.compute.keypairs()]
            answer = connection.compute.get("/limits")
            openstack.exceptions.raise_from_response(answer)
            limits = answer.json()["limits"]["absolute"]
        return Survey(
            servers=servers,
            quota=Resources(
                instances=_limit(limits["maxTotalInstances"]),
                vcpus=_limit(limits["maxTotalCores"]),
                ram_mb=_limit(limits["maxTotalRAMSize"]),
            ),
            keypairs=frozenset(it for it in keypairs if keypair_attempt(it, self._fleet)),
        )

    def catalogue(self) -> Catalogue:
        """Return what the region offers to servers."""
        with self._session() as connection:
            return Catalogue(
                flavors=tuple(_flavor(it) for it in connection.compute.flavors()),
                images=tuple(_image(it) for it in connection.image.images(status="active")),
                networks=tuple(
                    Network(id=it.id, name=it.name, shared=bool(it.is_shared))
                    for it in connection.network.networks()
                    if not it.is_router_external
                ),
            )

    def mark(self, server_id: str, marks: Marks) -> None:
        """Write a server's marks anew."""
        with self._session() as connection:
            connection.compute.set_server_metadata(server_id, **metadata_of(marks))

    def _microversion(self, connection: Any) -> str | None:  # noqa: ANN401  the sdk is untyped
        found: str | None = utils.maximum_supported_microversion(connection.compute, MICROVERSION)
        return found

    def _server(self, it: Any) -> Server:  # noqa: ANN401  the sdk is untyped
        flavor = it.flavor or {}
        return Server(
            id=it.id,
            status=_status(it.status),
            flavor=flavor.get("original_name") or flavor.get("id") or "",
            image=(it.image or {}).get("id") or "",
            need=Resources(
                instances=1, vcpus=flavor.get("vcpus") or 0, ram_mb=flavor.get("ram") or 0
            ),
            addresses=tuple(_addresses(it.addresses or {})),
            fault=(it.fault or {}).get("message") if it.status == "ERROR" else None,
            marks=marks_of(it.metadata or {}, self._fleet),
        )


def _made_id(answer: Any) -> str:  # noqa: ANN401  requests' response
    try:
        return str(answer.json()["server"]["id"])
    except (ValueError, KeyError, TypeError) as error:
        raise InDoubt("202, and a body that names no server") from error


def _limit(value: int) -> int:
    return UNLIMITED if value < 0 else value


def _supports(microversion: str | None, since: tuple[int, int]) -> bool:
    return microversion is not None and tuple(map(int, microversion.split("."))) >= since


def _status(nova: str) -> Status:
    """Return our word for Nova's: whatever has been built and did not fail is ACTIVE."""
    if nova in ("BUILD", "REBUILD", "UNKNOWN"):
        return Status.BUILD
    if nova in ("ERROR", "DELETED"):
        return Status(nova)
    return Status.DELETED if nova == "SOFT_DELETED" else Status.ACTIVE


def _addresses(networks: Mapping[str, Sequence[Mapping[str, Any]]]) -> "Iterator[Address]":
    for network, addresses in networks.items():
        for it in addresses:
            yield Address(address=it["addr"], version=it["version"], network=network)


def _flavor(it: Any) -> Flavor:  # noqa: ANN401  the sdk is untyped
    return Flavor(id=it.id, name=it.name, vcpus=it.vcpus, ram_mb=it.ram, disk_gb=it.disk)


def _image(it: Any) -> Image:  # noqa: ANN401  the sdk is untyped
    named = {
        "os_distro": it.os_distro,
        "os_version": it.os_version,
        "architecture": it.architecture,
    }
    free = it.properties or {}
    return Image(
        id=it.id,
        name=it.name or "",
        created_at=it.created_at or "",
        min_ram_mb=it.min_ram or 0,
        min_disk_gb=it.min_disk or 0,
        properties={k: v for k, v in {**free, **named}.items() if isinstance(v, str)},
    )
