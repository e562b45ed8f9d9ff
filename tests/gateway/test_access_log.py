"""One line of JSON for each request: enough to find it again, and nothing that opens a door."""

import json

import httpx
import pytest


def test_a_request_that_was_served_has_its_line(gateway, token):
    path = "/v1/instances/i-1"
    answer = gateway.call("GET", f"{path}?label=secret:yes", token)
    line = gateway.line(answer.headers["x-request-id"])
    assert line["sub"] == "ann"
    assert (line["method"], line["path"], line["status"]) == ("GET", path, 200)
    assert line["function"] == "list"
    assert line["upstream"].startswith("127.0.0.1:")
    assert line["time"].endswith("Z")
    assert isinstance(line["duration_ms"], int)


def test_a_refusal_has_its_line_with_the_status_that_was_answered(gateway, token):
    bad = token[:-8] + "AAAAAAAA"
    for given in (None, bad):
        answer = gateway.call("POST", "/v1/instances", given)
        line = gateway.line(answer.headers["x-request-id"])
        assert (line["status"], line["sub"], line["upstream"]) == (401, None, None)
        assert line["details"].startswith("jwt_authn_access_denied")


def test_no_token_query_or_body_is_in_the_log(gateway, token):
    last = ""
    for given in (token, token + "x", "not-a-token-either"):
        answer = gateway.call(
            "POST", f"/v1/instances?access_token={given}", given, json={"user_data": "hush-hush"}
        )
        last = answer.headers["x-request-id"]
    gateway.line(last)
    log = gateway.log()
    for secret in (*token.split("."), "not-a-token-either", "hush-hush", "access_token", "Bearer"):
        assert secret not in log


def test_every_line_is_json_whatever_the_path(gateway, token):
    answer = gateway.call("GET", '/v1/"quoted"%0a{}', token)
    gateway.line(answer.headers["x-request-id"])
    assert all(json.loads(it)["event"] == "access" for it in gateway.log().splitlines())


@pytest.mark.parametrize("client", ["127.0.0.1", "127.0.0.2"])
def test_a_clients_own_id_is_that_of_the_line_and_of_the_answer(gateway, token, client):
    given = "0b2d4a3c-1111-4222-8333-123456789abc"
    headers = {"Authorization": f"Bearer {token}", "X-Request-Id": given}
    transport = httpx.HTTPTransport(local_address=client)
    with httpx.Client(base_url=gateway.url, transport=transport, headers=headers) as http:
        answer = http.get("/v1/instances")
    assert answer.headers["x-request-id"] == given
    assert gateway.line(given)["request_id"] == given


def test_bounded_a_line_is_short_whatever_the_path_and_the_id(gateway, token):
    answer = gateway.call("GET", "/v1/instances/" + "x" * 3000, token)
    line = gateway.line(answer.headers["x-request-id"])
    assert len(json.dumps(line)) < 2500
