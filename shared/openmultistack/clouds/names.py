"""Names of servers and keypairs, both ways: signed, they tell whose attempt's they are."""

import hmac
import re
from collections.abc import Iterable

from openmultistack.clouds.keyring import MarksKey
from openmultistack.clouds.port import Attempted, Keypair, Server, Survey
from openmultistack.clouds.signing import VERSION, Signing, canonical
from openmultistack.domain.models import Resources
from openmultistack.domain.strict import encode_base64url

# Of a name's signature: 72 bits, as much as base64url has in so many characters.
NAME_SEAL_CHARS = 12
# The alphabet of a ULID: no other fleet's name can be read as ours.
_INSTANCE = r"(?P<id>i-[0-9A-HJKMNP-TV-Z]{26})-(?P<attempt>[0-9]{1,5})"


def _stem(fleet: str, attempted: Attempted) -> str:
    """Return a name without its signature; some clouds allow these characters only."""
    of_fleet = re.sub(r"[^A-Za-z0-9_-]", "_", fleet)
    return f"oms-{of_fleet}-{attempted.instance_id}-{attempted.attempt}"


def _name(key: MarksKey, fleet: str, place: str, attempted: Attempted) -> str:
    told = ["oms-name", VERSION, place, fleet, attempted.instance_id, attempted.attempt]
    seal = encode_base64url(key.sign(canonical(told)))[:NAME_SEAL_CHARS]
    return f"{_stem(fleet, attempted)}-{seal}"


def name_of(signing: Signing, attempted: Attempted) -> str:
    """Return the name of an attempt's server, and of all that is made for it."""
    return _name(signing.keyring.signer, signing.fleet, signing.place, attempted)


def names_of(signing: Signing, attempted: Attempted) -> list[str]:
    """Return the names that an attempt's things may have, by each of the keys."""
    keys = signing.keyring.keys
    return [_name(it, signing.fleet, signing.place, attempted) for it in keys]


def pattern_of(fleet: str, attempted: Attempted) -> str:
    """Return a regular expression for the names of an attempt's server, those unsigned as well."""
    of_fleet = _stem(fleet, attempted)
    plain = f"oms-{attempted.instance_id}-{attempted.attempt}"
    return f"^({re.escape(of_fleet)}-.{{{NAME_SEAL_CHARS}}}|{re.escape(plain)})$"


def named(name: str, signing: Signing) -> Attempted | None:
    """Return whose attempt's a name is; None if it is not this fleet's, or does not verify."""
    return named_by(name, signing)[0]


def named_by(name: str, signing: Signing) -> tuple[Attempted | None, str]:
    """Return whose attempt's a name is, and the id of the key by which it verifies."""
    attempted = _attempted(name)
    if attempted is None:
        return None, ""
    names = zip(signing.keyring.keys, names_of(signing, attempted), strict=True)
    same = [key.id for key, it in names if hmac.compare_digest(it.encode(), name.encode())]
    return (attempted, same[0]) if same else (None, "")


def _attempted(name: str) -> Attempted | None:
    """Return whose attempt's a name of the signed form says that it is, of whichever fleet."""
    stem = re.fullmatch(rf"oms-.+-{_INSTANCE}-[A-Za-z0-9_-]{{{NAME_SEAL_CHARS}}}", name)
    return Attempted(stem["id"], int(stem["attempt"])) if stem else None


def survey_of(
    servers: Iterable[Server], quota: Resources, keypairs: Iterable[str], signing: Signing
) -> Survey:
    """Return a survey, with those of a project's keypairs that are named as this fleet's are."""
    ours, unproven = [], []
    for name in keypairs:
        if attempted := named(name, signing):
            ours.append(Keypair(name, attempted, verified=True))
        elif attempted := unsigned_keypair(name, signing.fleet):
            ours.append(Keypair(name, attempted, verified=False))
        elif attempted := _unproven(name, signing.fleet):
            unproven.append(Keypair(name, attempted, verified=False))
    return Survey(tuple(servers), quota, tuple(ours), tuple(unproven))


def _unproven(name: str, fleet: str) -> Attempted | None:
    """Return whose attempt's a name says that it is, in its signed form."""
    attempted = _attempted(name)
    stem = name[: -NAME_SEAL_CHARS - 1]
    return attempted if attempted and stem == _stem(fleet, attempted) else None


def unsigned_keypair(name: str, fleet: str) -> Attempted | None:
    """Return whose attempt's a keypair says that it is, as those of before were named."""
    found = re.fullmatch(f"oms-{re.escape(fleet)}-{_INSTANCE}", name)
    return Attempted(found["id"], int(found["attempt"])) if found else None


def tag_of(fleet: str) -> str:
    """Return the tag that all servers of a fleet have; Nova allows 60 characters, no comma."""
    return f"oms-{fleet}"[:60]
