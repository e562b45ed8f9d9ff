"""What a cloud's answer means: every body that a real OpenStack was seen to give."""

import base64
import json
from types import SimpleNamespace
from typing import Any

import pytest
from keystoneauth1 import exceptions as ksa
from keystoneauth1.loading import Opt
from openstack import exceptions as sdk

from openmultistack.clouds.meanings import is_quota
from openmultistack.clouds.openstack.failures import (
    RETRY_AFTER_MAX_S,
    RETRY_AFTER_S,
    body_of,
    keypair_refusal,
    refusal,
    retry_after_s,
    said,
    translate,
)
from openmultistack.domain.cloud_errors import (
    AccountBroken,
    CatalogueStale,
    CloudError,
    InDoubt,
    OrderRefused,
    RateLimited,
    RegionFull,
    Unreachable,
    Unsuitable,
)
from openmultistack.domain.models import ALL_OF_IT

FIELD = "Invalid input for field/attribute"
HTML = "<html><head><title>503 Service Unavailable</title></head><body>nginx</body></html>"


def fault(code: int, message: str, name: str = "badRequest") -> str:
    """Return a fault as Nova writes it."""
    return json.dumps({name: {"code": code, "message": message}})


USED = "already used 20 of 20 instances"
UNIFIED = "Project 4f is over a limit for [Resource {} is over limit of 8 due to current usage 8]"
# Every refusal that creates and imports of keys can give: nova 34's own texts (nova/exception.py,
# compute/api.py, network/neutron.py, limit/), recorded from the laboratory where it gives them.
# docs/refusals.md is this table for people.
RECORDED: dict[type[CloudError], list[tuple[int, str]]] = {
    RegionFull: [
        # Both of Nova's quota drivers, each resource.
        (403, f"Quota exceeded for instances: Requested 1, but {USED}"),
        (403, f"Quota exceeded for instances: Requested 3-5, but {USED}"),
        (403, "Quota exceeded for cores: Requested 2000, but already used 4 of 1000 cores"),
        (403, "Quota exceeded for resources: instances"),
        (403, UNIFIED.format("servers")),
        (403, UNIFIED.format("class:VCPU")),
        (403, UNIFIED.format("class:MEMORY_MB")),
        (413, f"Quota exceeded for instances: Requested 1, but {USED}"),
        # Neutron's and Cinder's, handed on.
        (403, "Maximum number of ports exceeded"),
        (403, "The number of defined ports: 12 is over the limit: 10"),
        (409, "Quota exceeded for resources: ['port']."),
        (403, "Maximum number of security groups or rules exceeded"),
        (403, "Maximum number of floating IPs exceeded"),
        (403, "VolumeSizeExceedsAvailableQuota: exceeds allowed gigabytes quota."),
        (403, "No fixed IP addresses available for network: n1"),
    ],
    AccountBroken: [
        (403, "Policy doesn't allow os_compute_api:servers:create to be performed."),
        (403, "Policy doesn't allow os_compute_api:os-flavor-manage:create to be performed."),
        (401, "The request you have made requires authentication."),
    ],
    CatalogueStale: [
        (400, "Flavor nope could not be found."),
        # Of a disabled one Nova gives the number in its table.
        (400, "Flavor 7 could not be found."),
        (400, "Flavor 66f85ee7-d143-4f7c-aa2d-e39f5eedbde2 could not be found."),
        (400, "Can not find requested image"),
        (400, f"{FIELD} imageRef. Value: ubuntu. 'ubuntu' is not valid under any of the schemas"),
        (400, f"{FIELD} flavorRef. Value: []. [] is not of type 'string', 'integer'"),
        (400, "Image 11111111-2222-3333-4444-555555555555 is not active."),
        (400, "Not authorized for image 11111111-2222-3333-4444-555555555555."),
        (400, "Block Device Mapping is Invalid: failed to get image i1."),
        (400, "Network 11111111-2222-3333-4444-555555555555 could not be found."),
        (404, "Image 11111111-2222-3333-4444-555555555555 could not be found."),
    ],
    OrderRefused: [
        (400, f"{FIELD} user_data. Value: not base64!. 'not base64!' is not a 'base64'"),
        (400, f"{FIELD} user_data. Value: eHh4. 'eHh4' is too long"),
        (400, f"{FIELD} user_data. Value: an image. 'an image' is too long"),
        (400, "User data needs to be valid base 64."),
        (400, "Invalid key_name provided."),
        (400, "Invalid metadata: value is not a string"),
        (400, "Invalid metadata size: Metadata property value greater than 255 characters"),
        (400, f"{FIELD} metadata. Value: {{'ä': '1'}}. 'ä' does not match any of the regexes"),
        (400, "UnicodeError: 'utf-8' codec can't encode"),
        (409, "Key pair 'k1' already exists."),
    ],
    InDoubt: [
        (500, "Unexpected API Error. Please report this at http://bugs.launchpad.net/nova/"),
        (502, "bad gateway"),
        (503, "The service is unavailable"),
        (504, "gateway timeout"),
        # osapi_compute_unique_server_name_scope: only this very attempt's POST can have made it.
        (409, "Instance oms-i-1-1 already exists."),
    ],
    RateLimited: [(429, "This request was rate-limited."), (413, "This request was rate-limited.")],
}
# And those that are about some of an order: its kind.
UNSUITABLE: dict[tuple[str, ...], list[tuple[int, str]]] = {
    ("flavor",): [
        (403, "Only volume-backed servers are allowed for flavors with zero disk."),
    ],
    ("flavor", "image"): [
        (400, "Flavor's disk is too small for requested image. Flavor disk is 1 bytes, image is 2"),
        (400, "Flavor's disk is smaller than the minimum size specified in image metadata. 1, 2"),
        (400, "Volume is smaller than the minimum size specified in image metadata. 1, 2"),
        (400, "The created instance's disk would be too small."),
        (400, "Flavor's memory is too small for requested image."),
        (400, "Block Device Mapping is Invalid: You specified more local devices than the limit"),
        (400, "Block Device Mapping is Invalid: Boot sequence for the instance is not valid."),
        (400, "Ephemeral disks requested are larger than the instance type allows."),
        (400, "Swap drive requested is larger than instance type allows."),
        (403, "The maximum allowed number of disk devices (1) to attach to a single instance has"),
        (400, "Conflicting values for hw:a found in the flavor (1) and the image (2)."),
        (403, "Image property 'hw_cpu_policy' is not permitted to override CPU pinning policy"),
        (403, "Image property 'hw_numa' is not permitted to override NUMA configuration"),
        (400, "Instance CPUs and/or memory cannot be evenly distributed across instance NUMA"),
        (400, "CPU number 3 is assigned to two nodes"),
        (400, "Page size 4 forbidden against 'image'"),
        (400, "Invalid memory page size '3'"),
        (400, "Forbidden to exceed flavor value of number of serial ports passed in image meta."),
        (400, "Machine type 'q35' is not compatible with image i (1): old"),
        (400, "PCI alias a1 is not defined"),
        (400, "Provided video model (x) is not supported."),
        (400, "Cannot set realtime policy in a non dedicated cpu pinning policy"),
        (400, "SEV requires stateless firmware"),
        (400, "locked_memory value in image or flavor is forbidden when mem_page_size is not set."),
        (400, "CPU emulator threads option requested is invalid, given: 'x'"),
        (409, "To support 'mixed' policy instance 'nova-compute' service must be upgraded"),
        (400, "Feature not supported with Ports that have accelerators."),
    ],
    ("image",): [
        (400, "Image i1 is unacceptable: Direct booting of an image uploaded from an encrypted"),
        (400, "Request of image i1 got BadRequest response: no"),
        (400, "Image signature certificate validation failed for certificate: c. no"),
        (400, "Requested image i1 has automatic disk resize disabled."),
        (400, "Image's config drive option 'x' is invalid"),
    ],
    ("network",): [
        (403, "It is not allowed to create an interface on external network n1"),
        (400, "Network n1 requires a subnet in order to boot instances on."),
        (400, "Network requires port_security_enabled and subnet associated in order to apply"),
        (409, "Multiple possible networks found, use a Network ID to be more specific."),
        (409, "More than one possible network found. Specify network ID(s) to select which"),
        (400, "Using networks with QoS policy is not supported for instance i. (Network ID is n)"),
        (400, "Unable to automatically allocate a network for project p"),
        (403, "Policy doesn't allow os_compute_api:servers:create:attach_network to be performed."),
    ],
    ("groups",): [
        (400, "Unable to find security_group with name or id 'nope'"),
        (400, "Security group nope not found."),
        (400, "Security group nope not found for project p."),
        (409, "Multiple security groups found matching 'x'. Use an ID to be more specific."),
    ],
    ("metadata",): [
        (403, "Maximum number of metadata items exceeds 5"),
        (403, "Maximum number of metadata items exceeds 10"),
        (403, UNIFIED.format("server_metadata_items")),
    ],
    ("keyed",): [
        (403, "Quota exceeded, too many key pairs."),
        (403, UNIFIED.format("server_key_pairs")),
        (403, "Policy doesn't allow os_compute_api:os-keypairs:create to be performed."),
    ],
    ALL_OF_IT: [
        (400, "The requested availability zone is not available"),
        (403, "Quota exceeded, too many servers in group"),
        (403, "Quota exceeded, too many server groups."),
        (403, "Personality file limit exceeded"),
        (400, "Feature not supported until computes have not been updated."),
        (403, "This project is suspended: pay your bill."),
        (400, f"{FIELD} server. Value: {{'user_data': 'x'}}. 'networks' is a required property"),
        (400, "min_count must be <= max_count"),
        (404, "The resource could not be found."),
        (406, "Version 2.999 is not supported by the API."),
        (409, "No Unique Match Found."),
    ],
}


@pytest.mark.parametrize(
    ("status", "message", "about"),
    [(*answer, about) for about, answers in UNSUITABLE.items() for answer in answers],
)
def test_a_refusal_of_a_kind_of_order_says_what_it_is_about(
    status: int, message: str, about: tuple[str, ...]
) -> None:
    error = refusal(status, fault(status, message, "forbidden"), {})
    assert isinstance(error, Unsuitable)
    assert error.about == about
    assert str(error).startswith(f"{status}: ")


@pytest.mark.parametrize(
    ("status", "message", "about"),
    [
        (400, "Keypair data is invalid: failed to generate fingerprint", ("key",)),
        (400, f"{FIELD} keypair. Value: {{'name': 'k3'}}. 'x' was unexpected", ("key",)),
        (403, "Quota exceeded, too many key pairs.", ("keyed",)),
        (403, UNIFIED.format("server_key_pairs"), ("keyed",)),
        (
            403,
            "Policy doesn't allow os_compute_api:os-keypairs:create to be performed.",
            ("keyed",),
        ),
        (403, "Forbidden", ("keyed",)),
        (404, "The resource could not be found.", ("keyed",)),
    ],
)
def test_a_refused_key_concerns_no_order_without_it(
    status: int, message: str, about: tuple[str, ...]
) -> None:
    error = keypair_refusal(status, fault(status, message), {})
    assert isinstance(error, Unsuitable)
    assert error.about == about


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (401, "no", AccountBroken),
        (429, "slow down", RateLimited),
        (500, "Unexpected API Error.", Unreachable),
        (503, "away", Unreachable),
    ],
)
def test_an_import_of_a_key_that_fails_makes_no_server(
    status: int, message: str, kind: type[CloudError]
) -> None:
    assert type(keypair_refusal(status, fault(status, message), {})) is kind


@pytest.mark.parametrize(
    ("fault_of_server", "full"),
    [
        (f"Quota exceeded for instances: Requested 1, but {USED}", True),
        (UNIFIED.format("class:VCPU"), True),
        ("Build of instance i aborted: VolumeSizeExceedsAvailableQuota: exceeds quota.", True),
        ("Build of instance i aborted: Maximum number of ports exceeded", True),
        ("No valid host was found. ", False),
        ("Exceeded maximum number of retries. Exhausted all hosts available", False),
        ("Quota exceeded, too many key pairs.", False),
        (
            "Build of instance i aborted: Failed to allocate the network(s), not rescheduling.",
            False,
        ),
    ],
)
def test_the_fault_of_a_server_in_error_tells_a_quota_from_a_failure(
    fault_of_server: str, *, full: bool
) -> None:
    assert is_quota(fault_of_server) is full


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
def test_a_413_that_is_not_novas_is_about_this_order_alone(body: str) -> None:
    """A proxy takes no body of this size: somebody else's smaller one it does."""
    error = refusal(413, body, {})
    assert isinstance(error, Unsuitable)
    assert "content" in error.about


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
    request = None

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
    assert str(translate(KeyError("x"), sent=True)) == "the answer could not be understood"


def test_what_a_cloud_repeats_of_token_or_user_data_is_shown_to_nobody() -> None:
    token, user_data = "5f4dcc3b5aa765d6", 'echo "s3cret"'
    encoded = base64.b64encode(user_data.encode()).decode()
    answer: Any = Response(400, "")
    answer.request = SimpleNamespace(headers={"X-Auth-Token": token})
    for secret in (token, user_data, encoded):
        answer.text = fault(400, f"cannot take {secret} here")
        told = str(refusal(400, body_of(answer, user_data, encoded), {}))
        assert told.startswith("400: cannot take (secret)"), told
        assert "s3cret" not in told


OPTIONS = [Opt("username"), Opt("auth-url")]


@pytest.mark.parametrize("sent", [False, True])
@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ksa.MissingRequiredOptions(OPTIONS), "lacks what this login needs: auth_url, username"),
        (ksa.NoMatchingPlugin("v9magic"), "names an auth_type that there is not"),
        (sdk.ConfigException("Cloud c was not found: my-password"), "no usable entry"),
        (ksa.MissingAuthPlugin("x"), "no usable entry"),
        (ksa.EndpointNotFound("x"), "no compute service"),
        (ksa.EmptyCatalog("x"), "no compute service"),
        (KeyError("absolute"), "could not be understood"),
        (ValueError(""), "could not be understood"),
        (ksa.ConnectFailure(""), "could not be understood"),
        (sdk.HttpException("", http_status=500), "500"),
    ],
)
def test_a_reason_is_a_sentence_and_no_exceptions_name(
    error: Exception, told: str, *, sent: bool
) -> None:
    said = str(translate(error, sent=sent))
    assert told in said
    assert type(error).__name__ not in said
    assert "my-password" not in said
    assert said[:1].isalnum()
