"""The reaper's timer has one token for most of its life, so that a list of tokens can be read."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from jose import jwt

from infra.local import timer
from infra.local.bearer import Bearer
from openmultistack.auth.own_issuer import make_signing_key

TTL_S = 3600


class Gateway(BaseHTTPRequestHandler):
    """Takes all tokens but those taken back, and remembers them."""

    seen: list[str]
    revoked: set[str]

    def do_POST(self) -> None:
        token = self.headers["Authorization"].removeprefix("Bearer ")
        self.seen.append(token)
        self.send_response(401 if token in self.revoked else 200)
        self.end_headers()
        self.wfile.write(json.dumps({"regions": []}).encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def gateway(free_port) -> Iterator[str]:
    Gateway.seen, Gateway.revoked = [], set()
    with HTTPServer(("127.0.0.1", free_port()), Gateway) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def key(tmp_path: Path) -> Path:
    make_signing_key(tmp_path)
    return tmp_path / "signing.pem"


def bearer_of(key: Path, **more: object) -> Bearer:
    return Bearer(key, owner="reaper", scopes=["fleet:reap"], ttl_s=TTL_S, **more)


def test_beats_have_one_token_and_another_one_once_it_is_refused(gateway: str, key: Path) -> None:
    bearer = bearer_of(key)
    assert [timer.reap(gateway, bearer)["status"] for _ in range(3)] == [200] * 3
    assert len(set(Gateway.seen)) == 1
    claims = jwt.get_unverified_claims(Gateway.seen[0])
    assert (claims["sub"], claims["scope"]) == ("reaper", "fleet:reap")
    Gateway.revoked = set(Gateway.seen)
    assert [timer.reap(gateway, bearer)["status"] for _ in range(3)] == [401, 200, 200]
    assert len(set(Gateway.seen)) == 2


def test_a_token_is_signed_anew_before_its_end(key: Path) -> None:
    now = 1_000_000.0
    bearer = bearer_of(key, clock=lambda: now)
    first = bearer.headers()
    now += TTL_S * 0.74
    assert bearer.headers() == first
    now += TTL_S * 0.02
    second = bearer.headers()
    assert second != first
    now -= TTL_S * 2
    assert bearer.headers() not in (first, second), "a clock that was put back"


def test_a_key_that_is_gone_is_an_entry_of_the_log(gateway: str, tmp_path: Path) -> None:
    line = timer.reap(gateway, bearer_of(tmp_path / "signing.pem"))
    assert line["error"] == "ConfigurationError"
    assert Gateway.seen == []
