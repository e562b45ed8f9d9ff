"""What the environment says of a host is looked up once, and obeyed."""

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from openmultistack.clouds.openstack.connections import HostSession

PROXY = "http://127.0.0.1:9"
# Neither streamed, nor with certificates of its own.
HOW = (None, True, None)


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Iterator[HostSession]:
    """A session where the environment names a proxy, but not for every host."""
    monkeypatch.setenv("HTTP_PROXY", PROXY)
    monkeypatch.setenv("NO_PROXY", "inside.example")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/etc/ssl/our.pem")
    with HostSession() as made:
        yield made


@pytest.fixture
def lookups(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The URLs for which the environment was asked."""
    asked: list[str] = []
    look = requests.sessions.get_environ_proxies

    def noted(url: str, **more: Any) -> Any:
        asked.append(url)
        return look(url, **more)

    monkeypatch.setattr(requests.sessions, "get_environ_proxies", noted)
    return asked


def test_a_host_is_looked_up_once(session: HostSession, lookups: list[str]) -> None:
    for path in ("servers", "limits", "servers/detail"):
        found = session.merge_environment_settings(f"http://nova.example:8774/{path}", {}, *HOW)
        assert (found["proxies"]["http"], found["verify"]) == (PROXY, "/etc/ssl/our.pem")
    assert lookups == ["http://nova.example:8774/servers"]


def test_each_host_has_its_own_answer(session: HostSession) -> None:
    for host, proxy in (("nova.example", PROXY), ("inside.example", None)):
        for _ in range(2):
            found = session.merge_environment_settings(f"http://{host}/v2", {}, *HOW)
            assert found["proxies"].get("http") == proxy


def test_what_a_request_says_itself_counts(session: HostSession, lookups: list[str]) -> None:
    own = {"http": "http://127.0.0.1:10"}
    for _ in range(2):
        found = session.merge_environment_settings("http://nova.example/", own, *HOW)
        assert (found["proxies"]["http"], found["verify"]) == (own["http"], "/etc/ssl/our.pem")
    assert len(lookups) == 2
