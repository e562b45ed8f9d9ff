"""A vendor profile that is fetched over the network holds up its own provider only."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import requests
from openstack.config import vendors

from openmultistack.clouds.openstack import connections, profiles
from openmultistack.clouds.openstack.clouds import OpenStackClouds
from openmultistack.domain.cloud_errors import CloudError, Unreachable
from tests.support.stub import Stub

WELL_KNOWN = "GET /.well-known/openstack/api"
SLOW, SOUND = "slow/RegionOne", "sound/RegionOne"
REGIONS = {SLOW: ("slow", "RegionOne"), SOUND: ("sound", "RegionOne")}


@pytest.fixture
def vendor(stub_module: ModuleType) -> Iterator[Stub]:
    """Return who hands out profiles, beside the stub that is the cloud."""
    running = stub_module.Stub()
    yield running
    running.close()


@pytest.fixture
def clouds(tmp_path: Path, stub: Stub, vendor: Stub) -> OpenStackClouds:
    """Return one provider with a profile that is fetched, and one without."""
    entry = json.loads(stub.clouds_yaml())["clouds"]["stub"]
    profiled = {**entry, "profile": vendor.url, "auth": dict(entry["auth"])}
    del profiled["auth"]["auth_url"]
    file = tmp_path / "clouds.yaml"
    file.write_text(json.dumps({"clouds": {"slow": profiled, "sound": entry}}))
    return OpenStackClouds(file, REGIONS, fleet="f")


def profile(stub_module: ModuleType, stub: Stub) -> Any:
    """Return an answer that leads to the stub."""
    told = {"name": "its-own", "profile": {"auth": {"auth_url": stub.auth_url}}}
    return stub_module.Answer(200, json.dumps(told))


def test_a_profile_that_hangs_holds_up_nobody_else(
    clouds: OpenStackClouds,
    vendor: Stub,
    stub_module: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(profiles, "READ_TIMEOUT_S", 30)
    vendor.answers[WELL_KNOWN] = stub_module.Answer(instead="silence")
    reasons: list[str] = []
    waiting = threading.Thread(target=lambda: reasons.append(refused(clouds)))
    waiting.start()
    while not vendor.requests:
        assert waiting.is_alive()
        time.sleep(0.01)
    clouds.region(SOUND).survey()
    assert waiting.is_alive()  # the sound one did not wait for it
    vendor.over.set()
    waiting.join(30)
    assert reasons == ["its profile could not be had from 127.0.0.1: no connection"]


def test_an_endpoint_that_hangs_holds_up_nobody_else(
    tmp_path: Path, stub: Stub, vendor: Stub, stub_module: ModuleType
) -> None:
    entry = json.loads(stub.clouds_yaml())["clouds"]["stub"]
    slow = {**entry, "compute_endpoint_override": vendor.compute_url}
    (tmp_path / "clouds.yaml").write_text(json.dumps({"clouds": {"slow": slow, "sound": entry}}))
    clouds = OpenStackClouds(tmp_path / "clouds.yaml", REGIONS, fleet="f")
    vendor.answers["GET /v2.1"] = stub_module.Answer(instead="silence")

    def survey() -> None:
        with suppress(CloudError):
            clouds.region(SLOW).survey()

    waiting = threading.Thread(target=survey)
    waiting.start()
    while "GET /v2.1" not in vendor.requests:
        assert waiting.is_alive()
        time.sleep(0.01)
    clouds.region(SOUND).survey()
    assert vendor.requests == ["GET /v2.1"]  # which still hangs: the sound one did not wait
    vendor.over.set()
    waiting.join(30)


def test_a_profile_that_hangs_is_given_up(
    clouds: OpenStackClouds,
    vendor: Stub,
    stub_module: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(profiles, "READ_TIMEOUT_S", 0.6)
    vendor.answers[WELL_KNOWN] = stub_module.Answer(instead="silence")
    assert refused(clouds).endswith(": no answer within 1 s")


def refused(clouds: OpenStackClouds) -> str:
    """Return why the one with the profile is down."""
    with pytest.raises(Unreachable) as raised:
        clouds.region(SLOW).survey()
    return str(raised.value)


def test_a_fetched_profile_is_used_and_the_sdk_fetches_none(
    clouds: OpenStackClouds,
    vendor: Stub,
    stub: Stub,
    stub_module: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(requests, "get")  # by which the sdk would, in the lock
    vendor.answers[WELL_KNOWN] = profile(stub_module, stub)
    clouds.region(SLOW).survey()
    assert vendor.requests == [WELL_KNOWN]
    assert vendors.get_profile("its-own") is None  # no name that another entry may mean


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ("", 503, "it answered 503"),
        ("<html>", 200, "its answer is no profile"),
        ("[]", 200, "its answer is no profile"),
        ('{"name": "x"}', 200, "its answer is no profile"),
        ('{"name": "x", "profile": {"auth": 1}}', 200, "its answer is no profile"),
        (" " * 70_000, 200, "its answer does not end"),
    ],
)
def test_a_failing_fetch_is_the_providers_own_reason_and_tried_again_later(
    clouds: OpenStackClouds,
    vendor: Stub,
    stub: Stub,
    stub_module: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    *,
    body: str,
    status: int,
    reason: str,
) -> None:
    monkeypatch.setattr(connections, "BODY_MAX_BYTES", 50_000)
    vendor.answers[WELL_KNOWN] = stub_module.Answer(status, body)
    for _ in range(3):
        assert refused(clouds) == f"its profile could not be had from 127.0.0.1: {reason}"
    assert vendor.requests == [WELL_KNOWN]  # not once for each call
    vendor.answers[WELL_KNOWN] = profile(stub_module, stub)
    later = time.monotonic() + profiles.FAILED_FOR_S
    monkeypatch.setattr(profiles.time, "monotonic", lambda: later)
    clouds.region(SLOW).survey()


def test_a_profile_that_is_shipped_as_an_address_is_known_before_it_is_read(
    clouds: OpenStackClouds, tmp_path: Path
) -> None:
    (tmp_path / "clouds.yaml").write_text('{"clouds": {"o": {"profile": "ovh"}, "r": {}}}')
    config = clouds._config  # noqa: SLF001
    found = [profiles.remote_profile(config, name) for name in ("o", "r", "none")]
    assert found == ["https://ovhcloud.com", None, None]
