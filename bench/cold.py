"""What cold starts and memory have in common: every function, and a fleet that is in use."""

import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPResponse
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import stage
import yaml

from openmultistack.auth.own_issuer import issue_token, make_signing_key
from openmultistack.auth.principal import SCOPES
from openmultistack.clouds.keyring import make_keyring

HERE = Path(__file__).parent
FUNCTIONS = HERE.parent / "functions"
ANSWERS_WITHIN_S = 60.0
NOBODYS = "/v1/instances/i-01ARZ3NDEKTSV4RRFFQ69G5FAV"
ORDER = f'{{"image":"{stage.IMAGE}","size":"{stage.SIZE}"}}'


class Case(NamedTuple):
    """A function, and a request of it with the status that answers it."""

    name: str
    source: Path
    method: str
    path: str
    status: int
    body: str = ""


HELLO = Case("hello world", HERE / "doors" / "world.py", "GET", "/", 200)
LIST = Case("list", FUNCTIONS / "list.py", "GET", "/v1/instances", 200)
DESTROY = Case("destroy, refused with 404", FUNCTIONS / "destroy.py", "DELETE", NOBODYS, 404)
RENEW = Case(
    "renew, refused with 404", FUNCTIONS / "renew.py", "PATCH", NOBODYS, 404, '{"ttl":600}'
)
CREATE = Case("create", FUNCTIONS / "create.py", "POST", "/v1/instances", 202, ORDER)
REAP = Case("reap", FUNCTIONS / "reap.py", "POST", "/v1/reap", 200)
CASES = (HELLO, LIST, DESTROY, RENEW, CREATE, REAP)


class Ground(NamedTuple):
    """What functions are started with, a token to call them with, and the cloud they call."""

    environment: Mapping[str, str]
    token: str
    sim: stage.Sim
    home: Path

    def logins(self) -> int:
        """Return how many calls Keystone has had."""
        providers = self.sim.ask("stats")["providers"].values()
        return sum(sum(calls.values()) for calls in providers)


@contextmanager
def ground(home: Path) -> Iterator[Ground]:
    """Give a fleet of four regions that a sweep has seen, and where a create has been."""
    make_signing_key(home / "keys")
    make_keyring(home / "marks.keys")
    issuer = {
        "issuer": "urn:openmultistack:local", "audience": "openmultistack",
        "algorithms": ["ES256"], "jwks_file": "keys/jwks.json",
    }  # fmt: skip
    (home / "issuers.yaml").write_text(yaml.safe_dump({"issuers": [issuer]}))
    token = issue_token(home / "keys" / "signing.pem", owner="bench", scopes=SCOPES, ttl_s=3600)
    with stage.simulated(home, instances=1000) as sim, stage.valkey(home) as url:
        fleet_file = home / "fleet.yaml"
        fleet_file.write_text(yaml.safe_dump({"regions": {"*": {"network": "ci-net"}}}))
        environment = {
            "OMS_REDIS_URL": url,
            "OMS_ISSUERS_FILE": str(home / "issuers.yaml"),
            "OMS_MARKS_KEYS_FILE": str(home / "marks.keys"),
            "OMS_FLEET_FILE": str(fleet_file),
            "OS_CLIENT_CONFIG_FILE": str(sim.clouds_file),
        }
        on = Ground(environment, token, sim, home)
        for case in (REAP, CREATE):
            with stage.function(case.source, environment, home) as address:
                answered(case, address, token)
        yield on


def answered(case: Case, url: str, token: str) -> None:
    """Send a case's request until there is somebody to take it, and read the answer.

    Raises:
        RuntimeError: it is not the one that is expected.
        TimeoutError: nobody took it.
    """
    where = urlsplit(url)
    until = time.monotonic() + ANSWERS_WITHIN_S
    while time.monotonic() < until:
        with suppress(ConnectionRefusedError):
            answer = _exchange((where.hostname or "", where.port or 0), _request(case, token))
            if not answer.startswith(f"HTTP/1.1 {case.status} "):
                raise RuntimeError(f"{case.name}: {answer[:600]}")
            return
        time.sleep(0.002)
    raise TimeoutError(f"{case.name}: nobody answers")


def _exchange(address: tuple[str, int], request: bytes) -> str:
    """Return the answer once it is whole, as a client has it; the server may still be busy."""
    with socket.create_connection(address, ANSWERS_WITHIN_S) as connection:
        connection.sendall(request)
        answer = HTTPResponse(connection)
        answer.begin()
        return f"HTTP/1.1 {answer.status} {answer.reason}: {answer.read().decode()}"


def _request(case: Case, token: str) -> bytes:
    return (
        f"{case.method} {case.path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n"
        f"Authorization: Bearer {token}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(case.body)}\r\n\r\n{case.body}"
    ).encode()
