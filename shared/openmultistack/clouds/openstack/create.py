"""Servers are made in one region: each by one POST, and its keypair before it."""

import base64
import math
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from openmultistack.clouds.keyring import Keyring, Keys
from openmultistack.clouds.marks import metadata_of
from openmultistack.clouds.names import name_of, tag_of
from openmultistack.clouds.openstack import connections
from openmultistack.clouds.openstack.failures import body_of, refusal
from openmultistack.clouds.openstack.keypairs import forget_keypairs, import_keypair
from openmultistack.clouds.openstack.microversions import (
    NETWORKS_UNSAID,
    TAGS_SINCE,
    numbers_of,
    supports,
)
from openmultistack.clouds.openstack.session import Session, Sessions
from openmultistack.clouds.port import Attempted, ServerOrder
from openmultistack.clouds.signing import Signing
from openmultistack.domain.cloud_errors import CloudError, InDoubt, PlaceMoved
from openmultistack.domain.models import NO_NETWORK


class ServerMaker:
    """Makes the servers of one region."""

    def __init__(self, sessions: Sessions, keys: Keys) -> None:
        self._sessions = sessions
        self._keys = keys

    def create(self, order: ServerOrder, *, not_after: float = math.inf) -> str:
        """Make a server and return its id; sends the POST once, and not after its time.

        The keys are read once: a server names its keypair, and both are named by the same key.
        """
        keyring = self._keys()
        if not order.ssh_public_key:
            return self._create_server(order, keyring, not_after)
        self._import_keypair(order, order.ssh_public_key, keyring)
        try:
            return self._create_server(order, keyring, not_after)
        except InDoubt:
            raise
        except CloudError:
            with suppress(CloudError):  # what fails here leaves a name, for a sweep to find
                self._forget_keypairs(order.marks.attempted, keyring)
            raise

    def _import_keypair(self, order: ServerOrder, public_key: str, keyring: Keyring) -> None:
        with self._sessions.opened() as session:
            name = name_of(session.signing(keyring), order.marks.attempted)
            import_keypair(session, name, public_key)

    def _forget_keypairs(self, attempted: Attempted, keyring: Keyring) -> None:
        with self._sessions.opened() as session:
            forget_keypairs(session, session.signing(keyring), attempted)

    def _create_server(self, order: ServerOrder, keyring: Keyring, not_after: float) -> str:
        with self._sessions.opened(sending=True) as session:
            version = _version_for(order, session)
            body = server_body(order, version, session.signing(keyring))
            if order.place.startswith("p-") and order.place != session.place().id:
                raise PlaceMoved("the region's name leads to another project or cloud than before")
            answer = session.nova.post(
                "/servers",
                json={"server": body},
                not_after=not_after,
                microversion=version,
                timeout=connections.call_timeouts(),
            )
            if answer.status_code != HTTPStatus.ACCEPTED:
                secrets = (order.user_data or "", body.get("user_data", ""))
                raise refusal(answer.status_code, body_of(answer, *secrets), answer.headers)
            return _made_id(answer)


def _version_for(order: ServerOrder, session: Session) -> str | None:
    """Return the microversion of a create: what is newer asks for networks."""
    unsaid = order.offer.network == NO_NETWORK
    newer = unsaid and session.supports(numbers_of(NETWORKS_UNSAID))
    return NETWORKS_UNSAID if newer else session.version


def server_body(order: ServerOrder, version: str | None, signing: Signing) -> dict[str, Any]:
    """Return a server as a POST asks for it."""
    offer, marks = order.offer, order.marks
    body: dict[str, Any] = {
        "name": name_of(signing, marks.attempted),
        "flavorRef": offer.flavor.id,
        "imageRef": offer.image.id,
        "metadata": metadata_of(marks, signing),
    }
    if offer.network != NO_NETWORK:
        body["networks"] = [{"uuid": offer.network.id}]
    if supports(version, TAGS_SINCE):
        body["tags"] = [tag_of(marks.fleet)]
    if order.user_data is not None:
        body["user_data"] = base64.b64encode(order.user_data.encode()).decode()
    if marks.identity.has_keypair:
        body["key_name"] = body["name"]
    if offer.security_groups:
        body["security_groups"] = [{"name": name} for name in offer.security_groups]
    return body


def _made_id(answer: Any) -> str:  # noqa: ANN401  requests' response
    try:
        return str(answer.json()["server"]["id"])
    except (ValueError, KeyError, TypeError) as error:
        raise InDoubt("202, and a body that names no server") from error
