"""What a cloud's answer means: every body that a real OpenStack was seen to give."""

import json
from typing import Any

import pytest
from openstack import exceptions as sdk

from openmultistack.clouds.failures import (
    RETRY_AFTER_MAX_S,
    RETRY_AFTER_S,
    refusal,
    retry_after_s,
    said,
    translate,
)
from openmultistack.errors import (
    AccountBroken,
    CatalogueStale,
    CloudError,
    InDoubt,
    OrderRefused,
    RateLimited,
    RegionFull,
    Unreachable,
)

FIELD = "Invalid input for field/attribute"
HTML = "<html><head><title>503 Service Unavailable</title></head><body>nginx</body></html>"


def fault(code: int, message: str, name: str = "badRequest") -> str:
    """Return a fault as Nova writes it."""
    return json.dumps({name: {"code": code, "message": message}})


# Recorded from the laboratory (its facts), but where another source is named.
USED = "already used 20 of 20 instances"
RECORDED: dict[type[CloudError], list[tuple[int, str]]] = {
    RegionFull: [
        # Both of Nova's quota drivers, each resource.
        (403, f"Quota exceeded for instances: Requested 1, but {USED}"),
        (403, f"Quota exceeded for instances: Requested 3-5, but {USED}"),
        (403, "Quota exceeded for cores: Requested 2000, but already used 4 of 1000 cores"),
        (403, "Project ID is over a limit for [Resource servers is over limit of 20 due to ...]"),
        (413, f"Quota exceeded for instances: Requested 1, but {USED}"),
        # nova.exception.KeypairLimitExceeded: keypairs have a quota of their own.
        (403, "Quota exceeded, too many key pairs."),
        (403, "Maximum number of metadata items exceeds 128"),
    ],
    AccountBroken: [
        (403, "Policy doesn't allow os_compute_api:servers:create to be performed."),
        (403, "Policy doesn't allow os_compute_api:os-flavor-manage:create to be performed."),
        (401, "The request you have made requires authentication."),
    ],
    CatalogueStale: [
        (400, "Flavor nope could not be found."),
        (400, "Flavor 66f85ee7-d143-4f7c-aa2d-e39f5eedbde2 could not be found."),
        (400, "Can not find requested image"),
        (400, f"{FIELD} imageRef. Value: ubuntu. 'ubuntu' is not valid under any of the schemas"),
        (400, "Network 11111111-2222-3333-4444-555555555555 could not be found."),
        (400, "Unable to find security_group with name or id 'nope'"),
        (400, "The requested availability zone is not available"),
        (409, "Multiple possible networks found, use a Network ID to be more specific."),
        (404, "Image 11111111-2222-3333-4444-555555555555 could not be found."),
        (400, f"{FIELD} server. Value: {{'user_data': 'x'}}. 'networks' is a required property"),
    ],
    OrderRefused: [
        (400, f"{FIELD} user_data. Value: not base64!. 'not base64!' is not a 'base64'"),
        (400, f"{FIELD} user_data. Value: eHh4. 'eHh4' is too long"),
        (400, f"{FIELD} user_data. Value: an image. 'an image' is too long"),
        (400, "Invalid key_name provided."),
        (400, "Keypair data is invalid: failed to generate fingerprint"),
        (400, f"{FIELD} keypair. Value: {{'name': 'k3'}}. 'public_key' is a required property"),
        (409, "Key pair 'k1' already exists."),
    ],
    InDoubt: [
        (500, "Unexpected API Error. Please report this at http://bugs.launchpad.net/nova/"),
        (502, "bad gateway"),
        (503, "The service is unavailable"),
        (504, "gateway timeout"),
        (406, "Version 2.999 is not supported by the API."),
    ],
    RateLimited: [(429, "This request was rate-limited.")],
}


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [(*answer, kind) for kind, answers in RECORDED.items() for answer in answers],
)
def test_a_fault_of_nova_means(status: int, message: str, kind: type[CloudError]) -> None:
    error = refusal(status, fault(status, message), {})
    assert type(error) is kind
    assert str(error).startswith(f"{status}: ")


@pytest.mark.parametrize("status", [400, 403, 404, 409, 500, 502, 503, 504])
@pytest.mark.parametrize(
    "body", [HTML, "", "null", "[]", "7", '{"a": 1}', '{"a": {}, "b": {}}', "{"]
)
def test_what_is_not_novas_own_fault_proves_nothing(status: int, body: str) -> None:
    """A proxy that answers for Nova may have sent the request on before it gave up."""
    assert type(refusal(status, body, {})) is InDoubt
    assert said(status, body) == str(status)


@pytest.mark.parametrize("body", [HTML, "Authentication required", ""])
def test_a_401_is_a_broken_account_in_any_words(body: str) -> None:
    assert type(refusal(401, body, {})) is AccountBroken


@pytest.mark.parametrize("body", [HTML, ""])
def test_a_413_is_a_full_region_in_any_words(body: str) -> None:
    assert type(refusal(413, body, {})) is RegionFull


@pytest.mark.parametrize("status", [429, 413])
@pytest.mark.parametrize("name", ["Retry-After", "retry-after"])
@pytest.mark.parametrize("body", [HTML, "", fault(413, "over limit", "overLimit")])
def test_an_answer_that_asks_for_a_pause_is_a_rate_limit(status: int, name: str, body: str) -> None:
    """OpenStack's first rate limits were 413 (nova's `OverLimit`); who sends it may be a proxy."""
    error = refusal(status, body, {name: "7"})
    assert type(error) is RateLimited
    assert error.retry_after_s == 7


def test_a_429_is_a_rate_limit_even_without_a_word_on_how_long() -> None:
    error = refusal(429, HTML, {})
    assert type(error) is RateLimited
    assert error.retry_after_s == RETRY_AFTER_S


@pytest.mark.parametrize(
    ("said", "pause_s"),
    [
        ("7", 7),
        ("0", 1),
        ("86400", RETRY_AFTER_MAX_S),
        ("9999999", RETRY_AFTER_S),
        ("-5", RETRY_AFTER_S),
        ("1.5", RETRY_AFTER_S),
        ("soon", RETRY_AFTER_S),
        ("Wed, 21 Oct 2026 07:28:00 GMT", RETRY_AFTER_S),
        ("", RETRY_AFTER_S),
    ],
)
def test_a_pause_is_bounded_both_ways(said: str, pause_s: float) -> None:
    assert retry_after_s({"RETRY-After": said}) == pause_s


def test_what_is_said_is_one_short_line() -> None:
    text = said(400, fault(400, "a\n b\t" + "x" * 5000))
    assert text.startswith("400: a b x")
    assert len(text) < 320


def test_what_the_client_sent_is_not_repeated() -> None:
    """Nova quotes the value it refuses: that may be a secret, and the message goes into the log."""
    secret = "c2VjcmV0"
    for text in (
        f"{FIELD} user_data. Value: {secret}. '{secret}' is not a 'base64'",
        f"{FIELD} server. Value: {{'user_data': '{secret}'}}. 'networks' is a required property",
    ):
        assert secret not in str(refusal(400, fault(400, text), {}))


class Response:
    """As much of a response as an exception of the sdk looks at."""

    url = "http://cloud.invalid/v2.1/secret"
    reason = ""

    def __init__(self, status: int, body: str, **headers: str) -> None:
        self.status_code = status
        self.text = body
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def json(self) -> Any:
        """Return the body."""
        return json.loads(self.text)


SDK = [
    # (status, fault, what a request means that is not a create)
    (401, "no", AccountBroken),
    (403, "Policy doesn't allow it to be performed.", AccountBroken),
    (404, "Instance 1 could not be found.", InDoubt),
    (409, "Cannot 'delete' instance 1 while it is in task_state deleting", InDoubt),
    (409, "Instance 1 is locked", InDoubt),
    (500, "Unexpected API Error.", InDoubt),
    (503, "away", InDoubt),
]


@pytest.mark.parametrize(("status", "message", "kind"), SDK)
@pytest.mark.parametrize("sent", [True, False])
def test_an_answer_of_the_cloud_is_no_outage_of_its_network(
    status: int, message: str, kind: type[CloudError], *, sent: bool
) -> None:
    response = Response(status, fault(status, message))
    error = translate(sdk.HttpException("x", response=response), sent=sent)
    assert type(error) is kind
    assert str(error) == f"{status}: {message}"


@pytest.mark.parametrize("sent", [True, False])
@pytest.mark.parametrize(("headers", "pause_s"), [({"Retry_After": "9"}, 9), ({}, RETRY_AFTER_S)])
def test_a_rate_limit_is_one_on_every_call(
    headers: dict[str, str], pause_s: float, *, sent: bool
) -> None:
    response = Response(429, fault(429, "slow down"), **headers)
    error = translate(sdk.HttpException("x", response=response), sent=sent)
    assert isinstance(error, RateLimited)
    assert (str(error), error.retry_after_s) == ("429: slow down", pause_s)


def test_errors_of_ours_pass_as_they_are() -> None:
    error = RegionFull("403")
    assert translate(error, sent=True) is error


def test_a_surprise_is_in_doubt_once_it_may_have_been_sent() -> None:
    assert type(translate(KeyError("x"), sent=True)) is InDoubt
    assert type(translate(KeyError("x"), sent=False)) is Unreachable
    assert "KeyError" in str(translate(KeyError("x"), sent=True))
