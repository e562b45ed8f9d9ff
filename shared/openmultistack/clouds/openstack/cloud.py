"""The port over openstacksdk: the only code that imports it."""

import base64
import gc
import json
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from http import HTTPStatus
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

from keystoneauth1.access import AccessInfo
from keystoneauth1.exceptions import EndpointNotFound
from openstack import exceptions, utils

from openmultistack.clouds.keyring import Keyring, Keys, no_keys
from openmultistack.clouds.marks import (
    Signing,
    is_ours,
    metadata_of,
    name_of,
    names_of,
    pattern_of,
    survey_of,
    tag_of,
    verifies,
)
from openmultistack.clouds.openstack.connections import (
    CONNECT_TIMEOUT_S,
    Hosts,
    ImpatientAdapter,
)
from openmultistack.clouds.openstack.documents import (
    Document,
    asked,
    bare_endpoint,
    flavor_of,
    image_of,
    listed,
    network_of,
    quota_of,
    server_of,
)
from openmultistack.clouds.openstack.entries import Entries
from openmultistack.clouds.openstack.failures import (
    body_of,
    keypair_refusal,
    naming,
    refusal,
    translate,
)
from openmultistack.clouds.openstack.logins import Login, SharingSession
from openmultistack.clouds.openstack.profiles import Profiles, remote_profile, settle
from openmultistack.clouds.openstack.sealing import SealedShelf
from openmultistack.clouds.openstack.services import Services
from openmultistack.clouds.port import (
    Attempted,
    Claim,
    Cloud,
    Marks,
    Server,
    ServerOrder,
    Shelf,
    Survey,
)
from openmultistack.domain.errors import (
    AccountBroken,
    BadAnswer,
    CloudError,
    InDoubt,
    NoSuchRegion,
    NotConfigured,
    PlaceMoved,
    Unreachable,
)
from openmultistack.domain.models import NO_NETWORK, Catalogue, Flavor, Network, Place, Resources
from openmultistack.logs import ANSWERED, answered

READ_TIMEOUT_S = 30.0
# Of a look after a server whose answer was lost: somebody waits, and a sweep looks as well.
LOOK_TIMEOUT_S = 10.0
# 2.47 puts the flavor's numbers into a server, 2.52 takes tags in a create; 2.90 is old enough
# (2021) to be common, and what a cloud does not know is left out.
MICROVERSION = "2.90"
TAGS_SINCE = (2, 52)
FLAVOR_NUMBERS_SINCE = (2, 47)
# The newest that takes a server without a word on networks.
NETWORKS_UNSAID = "2.36"
# The first that takes the type of a key.
KEY_TYPE_SINCE, KEY_TYPE_MICROVERSION = (2, 2), "2.2"


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
        keys: Keys = no_keys,
        shelf: Shelf | None = None,
    ) -> None:
        self._file = clouds_file
        self._keys = keys
        self._regions = regions
        self._fleet = fleet
        self._shelf = shelf
        self._clouds: dict[str, OpenStackCloud] = {}
        # By all that tells one way to log in from another; in this process only.
        self._logins: dict[str, Login] = {}
        self._hosts = Hosts()
        self._profiles = Profiles(self._hosts)
        self._lock = threading.Lock()

    def names(self) -> Sequence[str]:
        """Return the regions there are."""
        return list(self._regions)

    def region(self, name: str) -> Cloud:
        """Return a region's cloud; opens nothing yet."""
        if name not in self._regions:
            raise NotConfigured(name)
        with self._lock:
            if name not in self._clouds:
                provider, region = self._regions[name]
                self._clouds[name] = OpenStackCloud(
                    lambda: self._connect(provider, region), fleet=self._fleet, keys=self._keys
                )
            return self._clouds[name]

    @cached_property
    def _config(self) -> Any:  # noqa: ANN401  the sdk is untyped
        return Entries(
            config_files=[str(self._file)],
            secure_files=[str(self._file.with_name("secure.yaml"))],
            load_envvars=False,
            app_name="openmultistack",
            session_constructor=SharingSession,
        )

    def _settle_profile(self, provider: str) -> None:
        """Have a provider's profile at hand, as it may take long to fetch: nobody else waits."""
        with self._lock:
            address = remote_profile(self._config, provider)
        if address:
            told = self._profiles.told(address)
            with self._lock:
                settle(address, told)

    def _connect(self, provider: str, region: str) -> tuple[Services, Login]:
        self._settle_profile(provider)
        with self._lock:
            config = self._config.get_one(provider, region_name=region, api_timeout=READ_TIMEOUT_S)
            way = {"type": config.config.get("auth_type"), "auth": config.get_auth_args()}
            known_by = json.dumps(way, sort_keys=True, default=str)
            if known_by not in self._logins:
                self._logins[known_by] = Login(SealedShelf(self._shelf, self._fleet, way))
        services, login = Services(config), self._logins[known_by]
        session = cast("SharingSession", services.session)
        session.login = login
        for scheme in ("http://", "https://"):
            session.session.mount(scheme, ImpatientAdapter(self._hosts))
        session.discoveries.shelf = login.shelf
        return services, login


class OpenStackCloud:
    """One region over openstacksdk; safe to share between threads."""

    def __init__(
        self, connect: Callable[[], tuple[Services, Login]], *, fleet: str, keys: Keys
    ) -> None:
        self._connect = connect
        self._fleet = fleet
        self._keys = keys
        self._connecting = threading.Lock()
        self._opened: tuple[Services, Login] | None = None
        # The login by which Nova was located, what clouds.yaml says of that, and what it speaks.
        self._located_by: AccessInfo | None = None
        self._override: str | None = None
        self._version: str | None = None
        # By id, where servers do not tell their flavor's numbers; None: it is there no more.
        self._flavors: dict[str, Flavor | None] = {}

    def _connected(self) -> tuple[Services, Login]:
        with self._connecting:
            self._opened = self._opened or self._connect()
            return self._opened

    @contextmanager
    def _session(self, *, sending: bool = False) -> "Iterator[Services]":
        """Give the connection, logged in; whatever fails comes out as a CloudError.

        With `sending` a failure after the login may have reached the cloud.
        """
        sent = False
        answered("")
        try:
            connection, login = self._connected()
            token = login.ready(connection.session)
            with _telling_regions(connection, token):
                self._locate(connection.compute, token)
            sent = sending
            yield connection
        except Exception as error:
            failed = translate(error, sent=sent)
            if isinstance(error, BadAnswer):
                failed = (InDoubt if sent else Unreachable)(str(error))
            failed.cloud_request_id = failed.cloud_request_id or ANSWERED.get()
            raise failed from error

    def _locate(self, nova: Any, token: AccessInfo | None) -> None:  # noqa: ANN401  untyped
        """Find Nova and what it speaks, once for a login: to look them up takes milliseconds."""
        with self._connecting:
            if token is not None and token is self._located_by:
                return
            if self._located_by is None:
                self._override = nova.endpoint_override
            nova.endpoint_override = self._override
            found = nova.get_endpoint_data()
            self._version = utils.maximum_supported_microversion(nova, MICROVERSION)
            # One that did not say what it speaks may do so the next time.
            if found and self._version:
                nova.endpoint_override = found.url
                if self._located_by is None:
                    # The sdk and this connection stay: the collector need not go through them
                    # again and again, a hundred thousand objects and some hundred a region.
                    gc.freeze()
                self._located_by = token

    def create(self, order: ServerOrder, *, not_after: float = math.inf) -> str:
        """Make a server and return its id; sends the POST once, and not after its time.

        The keys are read once: a server names its keypair, and both are named by the same key.
        """
        keyring = self._keys()
        if not order.ssh_public_key:
            return self._create_server(order, keyring, not_after)
        self._import_keypair(order, keyring)
        try:
            return self._create_server(order, keyring, not_after)
        except InDoubt:
            raise
        except CloudError:
            with suppress(CloudError):  # what fails here leaves a name, for a sweep to find
                self._forget_keypairs(order.marks.attempted, keyring)
            raise

    def forgive(self) -> None:
        """Have a login that was refused tried at once."""
        try:
            _, login = self._connected()
        except Exception as error:
            raise translate(error, sent=False) from error
        login.pauses.forgive()

    def place(self) -> Place:
        """Return what the region is by itself: where its Nova is, and for which project."""
        with self._session() as connection:
            return self._place_of(connection)

    def _place_of(self, connection: Services) -> Place:
        nova, project = connection.compute, connection.session.get_project_id()
        if not project:
            raise AccountBroken("its login is to no project: name one in clouds.yaml")
        endpoint = bare_endpoint(nova.endpoint_override or nova.get_endpoint() or "", project)
        return Place(endpoint, project, nova.region_name or "")

    def _signing(self, connection: Services, keyring: Keyring | None = None) -> Signing:
        return Signing(keyring or self._keys(), self._fleet, self._place_of(connection).id)

    def _create_server(self, order: ServerOrder, keyring: Keyring, not_after: float) -> str:
        with self._session(sending=True) as connection:
            version = self._version_for(order)
            body = self._body(order, version, self._signing(connection, keyring))
            if order.place.startswith("p-") and order.place != self._place_of(connection).id:
                raise PlaceMoved("the region's name leads to another project or cloud than before")
            answer = connection.compute.post(
                "/servers",
                json={"server": body},
                not_after=not_after,
                microversion=version,
                timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S),
            )
            if answer.status_code != HTTPStatus.ACCEPTED:
                secrets = (order.user_data or "", body.get("user_data", ""))
                raise refusal(answer.status_code, body_of(answer, *secrets), answer.headers)
            return _made_id(answer)

    def _version_for(self, order: ServerOrder) -> str | None:
        """Return the microversion of a create: what is newer asks for networks."""
        unsaid = order.offer.network == NO_NETWORK
        newer = unsaid and _supports(self._version, _numbers(NETWORKS_UNSAID))
        return NETWORKS_UNSAID if newer else self._version

    def _body(self, order: ServerOrder, version: str | None, signing: Signing) -> dict[str, Any]:
        offer, marks = order.offer, order.marks
        body: dict[str, Any] = {
            "name": name_of(signing, marks.attempted),
            "flavorRef": offer.flavor.id,
            "imageRef": offer.image.id,
            "metadata": metadata_of(marks, signing),
        }
        if offer.network != NO_NETWORK:
            body["networks"] = [{"uuid": offer.network.id}]
        if _supports(version, TAGS_SINCE):
            body["tags"] = [tag_of(marks.fleet)]
        if order.user_data is not None:
            body["user_data"] = base64.b64encode(order.user_data.encode()).decode()
        if marks.has_keypair:
            body["key_name"] = body["name"]
        if offer.security_groups:
            body["security_groups"] = [{"name": name} for name in offer.security_groups]
        return body

    def _import_keypair(self, order: ServerOrder, keyring: Keyring) -> None:
        with self._session() as connection:
            name = name_of(self._signing(connection, keyring), order.marks.attempted)
            body = {"name": name, "public_key": order.ssh_public_key}
            typed = _supports(self._version, KEY_TYPE_SINCE)
            if typed:
                body["type"] = "ssh"
            answer = connection.compute.post(
                "/os-keypairs",
                json={"keypair": body},
                microversion=KEY_TYPE_MICROVERSION if typed else None,
                timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S),
            )
            # 409: this attempt's own keypair is there already.
            if not answer.ok and answer.status_code != HTTPStatus.CONFLICT:
                raise keypair_refusal(answer.status_code, body_of(answer), answer.headers)

    def forget_keypair(self, name: str) -> str:
        """Delete a keypair; one that is gone is no error."""
        with self._session() as connection:
            _delete(connection, f"/os-keypairs/{_segment(name)}")
            return ANSWERED.get()

    def _forget_keypairs(self, attempted: Attempted, keyring: Keyring) -> None:
        with self._session() as connection:
            self._delete_keypairs(connection, self._signing(connection, keyring), attempted)

    def _delete_keypairs(
        self, connection: Services, signing: Signing, attempted: Attempted
    ) -> None:
        """Delete what an attempt's keypair may be named; the keys may have changed since."""
        for name in names_of(signing, attempted):
            _delete(connection, f"/os-keypairs/{_segment(name)}")

    def delete(self, server_id: str, keypair_of: Attempted | None = None) -> str:
        """Ask for a server's end, and that of its own keypair; one that is gone is no error."""
        with self._session() as connection:
            _delete(connection, f"/servers/{_segment(server_id)}")
            own_id = ANSWERED.get()
            if keypair_of:
                self._delete_keypairs(connection, self._signing(connection), keypair_of)
            return own_id

    def show(self, server_id: str) -> Server | None:
        """Return a server; None if the cloud has none of this id."""
        with self._session() as connection:
            path, version = f"/servers/{_segment(server_id)}", self._version
            try:
                found = asked(connection.compute, path, microversion=version)
            except exceptions.NotFoundException:
                return None
            signing = self._signing(connection)
            return self._server(connection.compute, found["server"], signing)

    def find(self, marks: Marks) -> Server | None:
        """Return the server that carries these marks' instance and attempt, if there is one yet.

        Nova takes the name for a regular expression; the marks decide, not the name. Of several it
        is one that is signed, and that was made as it was signed.
        """
        attempted = marks.attempted
        found = self._listed(name=pattern_of(self._fleet, attempted))
        its = [it for it in found if it.tells_of(attempted)]
        return min(its, key=lambda it: (it.marks is None, *it.originality), default=None)

    def active(self) -> Sequence[Server]:
        """Return the project's servers that the cloud shows ACTIVE."""
        return self._listed(status="ACTIVE")

    def _listed(self, **filters: str) -> list[Server]:
        with self._session() as connection:
            found = listed(
                connection.compute,
                "/servers/detail",
                params=filters,
                microversion=self._version,
                timeout=(CONNECT_TIMEOUT_S, LOOK_TIMEOUT_S),
            )
            signing = self._signing(connection)
            return [self._server(connection.compute, it, signing) for it in found]

    def _server(
        self,
        nova: Any,  # noqa: ANN401  untyped
        document: Document,
        signing: Signing,
    ) -> Server:
        """Return a server; below 2.47 it tells its flavor's id only."""
        server = server_of(document, signing)
        if _supports(self._version, FLAVOR_NUMBERS_SINCE) or not server.flavor:
            return server
        flavor = self._flavor(nova, server.flavor)
        if flavor is None:
            return server
        need = Resources(instances=1, vcpus=flavor.vcpus, ram_mb=flavor.ram_mb)
        return server._replace(flavor=flavor.name, need=need)

    def _flavor(self, nova: Any, flavor_id: str) -> Flavor | None:  # noqa: ANN401  untyped
        """Return a flavor by its id; asked for once, as an id never means another."""
        if flavor_id not in self._flavors:
            try:
                found = asked(nova, f"/flavors/{_segment(flavor_id)}")
            except exceptions.NotFoundException:
                self._flavors[flavor_id] = None
            else:
                self._flavors[flavor_id] = flavor_of(found["flavor"])
        return self._flavors[flavor_id]

    def present(self) -> frozenset[str]:
        """Return the ids of all servers of the project."""
        with self._session() as connection:
            return frozenset(it["id"] for it in listed(connection.compute, "/servers"))

    def survey(self) -> Survey:
        """Return all there is and the quota, in three calls (more pages aside)."""
        with self._session() as connection:
            nova, signing = connection.compute, self._signing(connection)
            found = listed(nova, "/servers/detail", microversion=self._version)
            servers = tuple(self._server(nova, it, signing) for it in found)
            keypairs = [it["keypair"]["name"] for it in listed(nova, "/os-keypairs")]
            quota = quota_of(asked(nova, "/limits"))
        return survey_of(servers, quota, keypairs, signing)

    def catalogue(self) -> Catalogue:
        """Return what the region offers to servers."""
        with self._session() as connection:
            flavors = listed(connection.compute, "/flavors/detail")
            with naming("image"):
                images = [
                    image_of(it)
                    for it in listed(connection.image, "/images", params={"status": "active"})
                ]
            return Catalogue(
                # Only an administrator is shown those that are disabled.
                flavors=tuple(
                    flavor_of(it) for it in flavors if not it.get("OS-FLV-DISABLED:disabled")
                ),
                images=tuple(images),
                networks=_networks(connection),
            )

    def security_groups(self) -> Mapping[str, str]:
        """Return the names of the project's security groups by their ids.

        Without a network service they are Nova's own: /os-security-groups, gone from 2.36 on.
        """
        with self._session() as connection:
            if connection.has("network"):
                with naming("network"):
                    found = list(listed(connection.network, "/security-groups"))
            else:
                found = list(listed(connection.compute, "/os-security-groups"))
            return {it["id"]: it["name"] for it in found}

    def mark(self, server_id: str, marks: Marks, *, whole: bool = False) -> None:
        """Write a server's marks anew: beside what is there, or (PUT) in place of other marks."""
        with self._session() as connection:
            nova, path = connection.compute, f"/servers/{_segment(server_id)}/metadata"
            items = metadata_of(marks, self._signing(connection), server_id)
            if whole:
                others = asked(nova, path)["metadata"]
                items = {k: v for k, v in others.items() if not is_ours(k)} | items
            answer = (nova.put if whole else nova.post)(path, json={"metadata": items})
            exceptions.raise_from_response(answer)

    def proves(self, claim: Claim, place: str) -> bool:
        """Whether a claim is signed for another place."""
        return verifies(claim, Signing(self._keys(), self._fleet, place), place)


@contextmanager
def _telling_regions(connection: Services, token: AccessInfo | None) -> "Iterator[None]":
    """Have a region that is not in the login's catalogue told with those that are.

    Raises:
        NoSuchRegion: the login works, and there is no Nova in a region of this name.
    """
    try:
        yield
    except EndpointNotFound as error:
        if token is None or not token.has_service_catalog():
            raise
        found = token.service_catalog.get_endpoints_data(service_type="compute")
        offered = {it.region_name for some in found.values() for it in some if it.region_name}
        if connection.region_name in offered:
            raise
        raise NoSuchRegion(connection.region_name, sorted(offered)) from error


def _networks(connection: Services) -> tuple[Network, ...]:
    """Return the networks there are; where clouds.yaml says `has_network: false` Nova has its own.

    Those that lead out of the cloud are told as such: see `find_network`.
    """
    if not connection.has("network"):
        return (NO_NETWORK,)
    with naming("network"):
        return tuple(map(network_of, listed(connection.network, "/networks")))


def _segment(name: str) -> str:
    """Return a name or an id as one part of a path, whatever is in it.

    Raises:
        BadAnswer: there is no such part.
    """
    if name in ("", ".", ".."):
        raise BadAnswer(f"{name!r} cannot be the id of anything")
    return quote(name, safe="")


def _delete(connection: Any, path: str) -> None:  # noqa: ANN401  the sdk is untyped
    """Delete something of Nova's; what is gone is no error."""
    answer = connection.compute.delete(path)
    if answer.status_code != HTTPStatus.NOT_FOUND:
        exceptions.raise_from_response(answer)


def _made_id(answer: Any) -> str:  # noqa: ANN401  requests' response
    try:
        return str(answer.json()["server"]["id"])
    except (ValueError, KeyError, TypeError) as error:
        raise InDoubt("202, and a body that names no server") from error


def _supports(microversion: str | None, since: tuple[int, ...]) -> bool:
    return microversion is not None and _numbers(microversion) >= since


def _numbers(microversion: str) -> tuple[int, ...]:
    return tuple(map(int, microversion.split(".")))
