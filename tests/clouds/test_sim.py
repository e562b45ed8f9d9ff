"""The simulated OpenStack is as strict as it claims."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from types import ModuleType
from typing import Any

import httpx
import pytest

from tests.support.rest import Control, Region

SSH_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHqM27hkt5YJcKboq5UbnLbqWxEJC9wcFmE2qmy128hP"


def until(holds: Callable[[], Any]) -> Any:
    """Return what becomes true soon, or fail."""
    end = time.monotonic() + 10
    while not (value := holds()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return value


# ---------------------------------------------------------------- the quota


def test_of_fifty_creates_at_once_as_many_are_accepted_as_fit(
    region: Region, control: Control
) -> None:
    control.change(latency_ms=200)  # all are under way when the first is admitted
    body = region.wanted()
    with ThreadPoolExecutor(50) as threads:
        answers = list(threads.map(lambda _: region.ask("POST", "/servers", body), range(50)))
    refusals = [it for it in answers if it.status_code == HTTPStatus.FORBIDDEN]
    assert len(refusals) == 30
    assert len([it for it in answers if it.status_code == HTTPStatus.ACCEPTED]) == 20
    message = "Quota exceeded for instances: Requested 1, but already used 20 of 20 instances"
    assert {it.text for it in refusals} == {refusals[0].text}
    assert refusals[0].json() == {"forbidden": {"code": 403, "message": message}}
    stats = control.stats()
    assert (stats["posts"], stats["accepted"], stats["refused_quota"]) == (50, 20, 30)
    assert stats["highest"] == stats["servers"] == 20


def test_a_server_that_is_being_deleted_counts_until_it_is_gone(
    region: Region, control: Control
) -> None:
    control.change(instances=1, boot_s=0, delete_s=0.4)
    server_id = region.make()
    until(lambda: region.show(server_id)["status"] == "ACTIVE")
    assert region.ask("DELETE", f"/servers/{server_id}").status_code == HTTPStatus.NO_CONTENT
    shown = region.show(server_id)
    assert (shown["status"], shown["OS-EXT-STS:task_state"]) == ("ACTIVE", "deleting")
    assert region.ask("POST", "/servers", region.wanted()).status_code == HTTPStatus.FORBIDDEN
    until(lambda: region.ask("GET", f"/servers/{server_id}").status_code == HTTPStatus.NOT_FOUND)
    region.make()
    assert control.stats()["highest"] == 1


def test_a_server_that_failed_says_why_and_counts_until_it_is_deleted(
    region: Region, control: Control
) -> None:
    control.change(instances=1, boot_s=0, delete_s=0, spawn_fail=1)
    server_id = region.make()
    until(lambda: region.show(server_id)["status"] == "ERROR")
    shown = region.show(server_id)
    assert shown["fault"]["code"] == 500
    assert server_id in shown["fault"]["message"]
    assert shown["addresses"] == {}
    assert region.ask("POST", "/servers", region.wanted()).status_code == HTTPStatus.FORBIDDEN
    region.ask("DELETE", f"/servers/{server_id}")
    until(lambda: control.stats()["servers"] == 0)
    region.make()


def test_servers_are_made_by_a_list_and_are_built_or_gone_behind_everybodys_back(
    region: Region, control: Control
) -> None:
    control.change(boot_s=3600)
    place = f"{control.url}/regions/p2/RegionTwo/servers"
    asked = [{"name": it, "metadata": {"of": it}} for it in ("a", "b", "c")]
    made = {it["name"]: it["id"] for it in control.http.post(place, json=asked).json()}
    assert region.show(made["b"])["metadata"] == {"of": "b"}
    changes = {"built": [made["a"]], "gone": [made["b"], "not-there"]}
    assert control.http.patch(place, json=changes).status_code == HTTPStatus.NO_CONTENT
    assert region.show(made["a"])["status"] == "ACTIVE"
    assert region.show(made["c"])["status"] == "BUILD"
    assert region.ask("GET", f"/servers/{made['b']}").status_code == HTTPStatus.NOT_FOUND
    assert sorted(region.names("")) == ["a", "c"]


def test_cores_are_a_quota_too_and_minus_one_is_none(region: Region, control: Control) -> None:
    control.change(cores=2, instances=-1)
    region.make()
    answer = region.ask("POST", "/servers", region.wanted(flavorRef=region.offered["m1.medium"]))
    message = "Quota exceeded for cores: Requested 2, but already used 1 of 2 cores"
    assert answer.json()["forbidden"]["message"] == message
    control.change(cores=-1)
    for _ in range(25):
        region.make()
    limits = region.ask("GET", "/limits").json()["limits"]["absolute"]
    assert (limits["maxTotalInstances"], limits["totalInstancesUsed"]) == (-1, 26)


# ---------------------------------------------------------------- tokens


def test_revoked_tokens_are_refused_and_new_ones_are_good(region: Region, control: Control) -> None:
    body = region.wanted()
    assert region.ask("POST", "/servers", body).status_code == HTTPStatus.ACCEPTED
    control.http.delete(f"{control.url}/tokens").raise_for_status()
    assert region.ask("POST", "/servers", body).status_code == HTTPStatus.UNAUTHORIZED
    region.token = region.log_in(region.login["password"]).headers["X-Subject-Token"]
    assert region.ask("POST", "/servers", body).status_code == HTTPStatus.ACCEPTED
    assert control.stats()["servers"] == 2


# ---------------------------------------------------------------- what is listed


def test_a_name_filter_is_a_regular_expression_found_anywhere(region: Region) -> None:
    for name in ("oms-i-1-1", "oms-i-1-12", "foreign-oms-i-1-1"):
        region.make(name=name, tags=["t", name])
    assert region.names("name=oms-i-1-1") == ["foreign-oms-i-1-1", "oms-i-1-12", "oms-i-1-1"]
    assert region.names("name=^oms-i-1-1$") == ["oms-i-1-1"]
    assert region.names("tags=t,oms-i-1-1") == ["oms-i-1-1"]
    assert region.names("not-tags-any=oms-i-1-12,foreign-oms-i-1-1") == ["oms-i-1-1"]
    assert len(region.names("metadata=x")) == 3  # ignored, as it is by Nova


def test_lists_come_by_pages(region: Region) -> None:
    made = [region.make(name=f"s{it}") for it in range(5)]
    seen, url = [], "/servers?limit=2"
    while url:
        answer = region.ask("GET", url).json()
        seen += [it["id"] for it in answer["servers"]]
        (link,) = answer.get("servers_links") or [{"href": ""}]
        url = link["href"].removeprefix(region.urls["compute"])
    assert seen == made[::-1]


def test_keypairs_are_listed_and_refused_beyond_their_quota(
    region: Region, control: Control
) -> None:
    control.change(keypairs=2)
    statuses = []
    for name in ("b", "a", "c"):
        body = {"keypair": {"name": name, "public_key": SSH_KEY, "type": "ssh"}}
        statuses.append(region.ask("POST", "/os-keypairs", body, "2.2").status_code)
    assert statuses == [201, 201, 403]
    listed = region.ask("GET", "/os-keypairs").json()["keypairs"]
    assert [it["keypair"]["name"] for it in listed] == ["a", "b"]
    assert region.ask("DELETE", "/os-keypairs/a").status_code == HTTPStatus.NO_CONTENT
    assert control.stats()["keypairs"] == 1


def test_metadata_is_added_to_by_a_post_and_replaced_by_a_put(region: Region) -> None:
    server_id = region.make(metadata={"a": "1"})
    path = f"/servers/{server_id}/metadata"
    assert region.ask("POST", path, {"metadata": {"b": "2"}}).json() == {
        "metadata": {"a": "1", "b": "2"}
    }
    assert region.ask("PUT", path, {"metadata": {"c": "3"}}).json() == {"metadata": {"c": "3"}}
    assert region.show(server_id)["metadata"] == {"c": "3"}


# ---------------------------------------------------------------- who may


def test_a_token_is_good_with_its_own_provider_only(
    region: Region, rest_module: ModuleType, sim: Any
) -> None:
    assert region.log_in("wrong").status_code == HTTPStatus.UNAUTHORIZED
    region.token = rest_module.Region(region.http, sim.clouds_file, "p1/RegionOne").token
    answer = region.ask("GET", "/servers")
    assert answer.status_code == HTTPStatus.UNAUTHORIZED
    assert answer.json()["error"]["title"] == "Unauthorized"


# ---------------------------------------------------------------- faults and the control


def test_who_gives_up_waiting_gets_a_server_all_the_same(region: Region, control: Control) -> None:
    body = region.wanted()
    control.change(latency_ms=600)
    with pytest.raises(httpx.ReadTimeout):
        region.ask("POST", "/servers", body, timeout=0.1)
    until(lambda: control.stats()["accepted"] == 1)


def test_a_delete_that_fails_does_nothing(region: Region, control: Control) -> None:
    server_id = region.make()
    control.change(destroy_fail=1, delete_s=0)
    answer = region.ask("DELETE", f"/servers/{server_id}")
    assert answer.status_code == HTTPStatus.INTERNAL_SERVER_ERROR
    assert answer.json()["computeFault"]["code"] == 500
    assert region.show(server_id)["OS-EXT-STS:task_state"] != "deleting"


def test_the_same_seed_fails_the_same_servers(region: Region, control: Control) -> None:
    def fates() -> list[str]:
        control.http.post(f"{control.url}/reset")
        control.change(boot_s=0, spawn_fail=0.5)
        made = [region.make() for _ in range(12)]
        return [until(lambda it=it: _settled(region.show(it))) for it in made]

    first = fates()
    assert set(first) == {"ACTIVE", "ERROR"}
    assert fates() == first


def _settled(server: dict[str, Any]) -> str | None:
    return server["status"] if server["status"] != "BUILD" else None


def test_the_history_has_what_is_gone(region: Region, control: Control) -> None:
    control.change(boot_s=0, delete_s=0)
    gone, there = region.make(metadata={"n": "1"}), region.make()
    region.ask("DELETE", f"/servers/{gone}")
    until(lambda: control.stats()["servers"] == 1)
    told = control.servers()
    assert [it["id"] for it in told["servers"]] == [there]
    assert [it["id"] for it in told["history"]] == [gone, there]
    first, second = told["history"]
    assert first["metadata"] == {"n": "1"}
    assert first["made_at"] <= first["gone_at"] <= time.time()
    assert second["gone_at"] is None


def test_a_foreign_server_takes_its_place_in_the_quota(region: Region, control: Control) -> None:
    control.change(instances=1)
    place = f"{control.url}/regions/p2/RegionTwo/servers"
    made = control.http.post(place).json()
    assert region.show(made["id"])["metadata"] == {}
    assert control.http.post(place).status_code == HTTPStatus.FORBIDDEN
    assert region.ask("POST", "/servers", region.wanted()).status_code == HTTPStatus.FORBIDDEN
    assert control.stats()["refused_quota"] == 1


@pytest.mark.parametrize(
    "conduct", [{"boots": 1}, {"spawn_fail": 2}, {"boot_s": -1}, {"instances": 0.5}]
)
def test_a_conduct_that_cannot_be_is_refused(control: Control, conduct: dict[str, float]) -> None:
    assert control.change(**conduct).status_code == HTTPStatus.BAD_REQUEST
