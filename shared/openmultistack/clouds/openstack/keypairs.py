"""Keypairs of a region: one is made for one attempt's server alone, and goes with it."""

from http import HTTPStatus

from openmultistack.clouds.names import names_of
from openmultistack.clouds.openstack import connections
from openmultistack.clouds.openstack.asking import delete, segment_of
from openmultistack.clouds.openstack.failures import body_of, keypair_refusal
from openmultistack.clouds.openstack.microversions import KEY_TYPE_MICROVERSION, KEY_TYPE_SINCE
from openmultistack.clouds.openstack.session import Session
from openmultistack.clouds.port import Attempted
from openmultistack.clouds.signing import Signing


def import_keypair(session: Session, name: str, public_key: str) -> None:
    """Give a client's public key a name, for the server that is made next."""
    body = {"name": name, "public_key": public_key}
    typed = session.supports(KEY_TYPE_SINCE)
    if typed:
        body["type"] = "ssh"
    answer = session.nova.post(
        "/os-keypairs",
        json={"keypair": body},
        microversion=KEY_TYPE_MICROVERSION if typed else None,
        timeout=connections.call_timeouts(),
    )
    # 409: this attempt's own keypair is there already.
    if not answer.ok and answer.status_code != HTTPStatus.CONFLICT:
        raise keypair_refusal(answer.status_code, body_of(answer), answer.headers)


def forget_keypair(session: Session, name: str) -> None:
    """Delete a keypair; one that is gone is no error."""
    delete(session.nova, f"/os-keypairs/{segment_of(name)}")


def forget_keypairs(session: Session, signing: Signing, attempted: Attempted) -> None:
    """Delete what an attempt's keypair may be named; the keys may have changed since."""
    for name in names_of(signing, attempted):
        forget_keypair(session, name)
