"""Which URLs of Redis are taken, and what they mean."""

import traceback

import pytest

from openmultistack.domain.errors import ConfigurationError
from openmultistack.domain.pace import PACE
from openmultistack.ledger import connect, read_address

SECRET = "hunter2"


def test_one_server_is_as_redis_py_reads_it() -> None:
    with connect(read_address("rediss://u:p%40w@ledger:7000/3?ssl_cert_reqs=none")) as client:
        told = client.connection_pool.connection_kwargs
    assert (told["host"], told["port"], told["db"]) == ("ledger", 7000, 3)
    assert (told["username"], told["password"], told["ssl_cert_reqs"]) == ("u", "p@w", "none")
    assert (told["socket_timeout"], told["decode_responses"]) == (5.0, True)


def test_sentinels_are_several_hosts_a_service_and_a_database() -> None:
    address = read_address(
        "redis+sentinel://u:p%2Fw@s1:7001,[::1]:7002,s3/my-ledger/2"
        "?sentinel_username=su&sentinel_password=sp&socket_timeout=2"
    )
    assert address.form == "sentinel"
    assert address.nodes == (("s1", 7001), ("::1", 7002), ("s3", 26379))
    assert (address.service, address.tls) == ("my-ledger", False)
    options = {"username": "u", "password": "p/w", "db": 2, "socket_timeout": 2.0}
    assert address.options == options
    assert address.sentinel_options == {"username": "su", "password": "sp"}


def test_tls_is_for_sentinels_and_servers_alike() -> None:
    address = read_address("rediss+sentinel://s1/ledger?ssl_ca_certs=/ca.pem")
    with connect(address) as client:
        pool = client.connection_pool
        sentinel = pool.sentinel_manager.sentinels[0].connection_pool
        assert type(pool.make_connection()).__name__ == "SentinelManagedSSLConnection"
        assert type(sentinel.make_connection()).__name__ == "SSLConnection"
        assert sentinel.connection_kwargs["ssl_ca_certs"] == "/ca.pem"
        pool.sentinel_manager.close()


def test_a_cluster_is_several_hosts() -> None:
    address = read_address("rediss+cluster://:pw@c1:7001,c2/0")
    assert (address.form, address.tls) == ("cluster", True)
    assert address.nodes == (("c1", 7001), ("c2", 6379))
    assert address.options == {"password": "pw"}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://:{}@ledger:port", "a port"),
        ("redis://:{}@ledger?no_such_option=1", "options"),
        ("redis://:{}@ledger?sentinel_password=x", "options"),
        ("redis://:{}@ledger?socket_timeout=long", "options"),
        ("redis+sentinel://:{}@s1,s2", "name of the service"),
        ("redis+sentinel://:{}@s1,,s2/ledger", "host:port"),
        ("redis+sentinel://:{}@s1:port/ledger", "host:port"),
        ("redis+sentinel://:{}@s1:99999/ledger", "host:port"),
        ("redis+sentinel://:{}@s1/ledger/two", "as a number"),
        ("redis+sentinel://:{}@s1/ledger?sentinel_no_such=1", "options"),
        ("redis+sentinel://:a/{}@s1/ledger", "expected"),
        ("redis+cluster://:{}@c1/1", "only the database 0"),
        ("redis+cluster://:{}@", "host:port"),
        ("redis+cluster://:{}@c1?sentinel_password=x", "options"),
        ("redis+socket://:{}@c1", r"redis\+FORM://"),
    ],
)
def test_a_bad_url_is_refused_and_its_password_is_not_told(url: str, expected: str) -> None:
    with pytest.raises(
        ConfigurationError, match=rf"^environment: OMS_REDIS_URL: .*{expected}"
    ) as no:
        read_address(url.format(SECRET))
    assert SECRET not in "".join(traceback.format_exception(no.value))


def test_an_address_that_is_shown_shows_no_password() -> None:
    url = f"redis+sentinel://:{SECRET}@s1/ledger?sentinel_password={SECRET}"
    assert SECRET not in repr(read_address(url))


def test_sweeps_side_by_side_do_not_run_out_of_connections_unless_the_url_says_so() -> None:
    def bound(url: str) -> int:
        return int(connect(read_address(url)).connection_pool.max_connections)

    # A sweep has one, the thread that keeps its lock another, and who looks after leavers a third.
    assert bound("redis://127.0.0.1:1/0") >= 3 * PACE.sweeps_at_once
    assert bound("redis+sentinel://127.0.0.1:1/main") >= 3 * PACE.sweeps_at_once
    assert bound("redis://127.0.0.1:1/0?max_connections=7") == 7
