"""Which environments are taken."""

import traceback
from pathlib import Path

import pytest

from openmultistack.domain.errors import ConfigurationError
from openmultistack.wiring.settings import Settings, load_settings


def test_an_empty_environment_has_defaults_and_believes_nobody() -> None:
    assert load_settings({}) == Settings()
    assert load_settings({}).issuers_file is None


def test_variables_are_read_by_their_names_and_an_empty_one_counts_as_absent() -> None:
    settings = load_settings(
        {
            "OMS_FLEET": "prod",
            "OMS_REDIS_URL": "rediss://ledger.example/1",
            "OMS_ISSUERS_FILE": "/etc/oms/issuers.yaml",
            "OS_CLIENT_CONFIG_FILE": "",
            "OMS_LEASE_S": "60",
            "THREADS": "12",
        }
    )
    assert (settings.fleet, settings.lease_s, settings.clouds_file) == ("prod", 60, None)
    assert settings.issuers_file == Path("/etc/oms/issuers.yaml")
    assert settings.threads == 12


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OMS_FLEET", "-"),
        ("OMS_FLEET", "a b"),
        ("OMS_FLEET", "a}b"),
        ("OMS_FLEET", "f" * 49),
        ("OMS_REDIS_URL", "http://127.0.0.1"),
        ("OMS_LEASE_S", "9"),
        ("THREADS", "0"),
        ("THREADS", "many"),
        ("OMS_LEASE_S", "3601"),
        ("OMS_LEASE_S", "long"),
        ("OMS_TICK", "yes"),
        ("OMS_GRANTED_S", "0"),
        ("OMS_GRANTED_S", "25s"),
    ],
)
def test_a_bad_variable_is_refused_by_its_name(variable: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"^environment: {variable}: "):
        load_settings({variable: value})


def test_a_secret_may_be_in_a_file_as_platforms_mount_it(tmp_path: Path) -> None:
    file = tmp_path / "redis"
    file.write_text("redis://:secret@ledger:6379/0\n")
    assert load_settings({"OMS_REDIS_URL_FILE": str(file)}).redis_url == (
        "redis://:secret@ledger:6379/0"
    )


@pytest.mark.parametrize(
    ("content", "more", "said"),
    [
        (None, {}, r"cannot be read \(No such file or directory\)"),
        (b"", {}, "expected a file that is not empty"),
        (b" \n", {}, "expected a file that is not empty"),
        (b"\xff", {}, "expected UTF-8"),
        (b"r" * 20_000, {}, "at most 16384 bytes"),
        (b"redis://a", {"OMS_REDIS_URL": "redis://b"}, "expected that or OMS_REDIS_URL, not both"),
    ],
)
def test_a_bad_file_of_a_secret_is_refused_by_the_name_of_its_variable(
    tmp_path: Path, content: bytes | None, more: dict[str, str], said: str
) -> None:
    file = tmp_path / "redis"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=f"^environment: OMS_REDIS_URL_FILE: .*{said}"):
        load_settings({"OMS_REDIS_URL_FILE": str(file), **more})


def test_a_bad_secret_of_a_file_is_not_told(tmp_path: Path) -> None:
    file = tmp_path / "redis"
    file.write_text("http://:hunter2@ledger")
    with pytest.raises(ConfigurationError) as caught:
        load_settings({"OMS_REDIS_URL_FILE": str(file)})
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(("value", "on"), [("on", True), ("off", False)])
def test_ticks_are_taken_where_that_is_said(value: str, on: bool) -> None:  # noqa: FBT001  a table
    assert load_settings({"OMS_TICK": value}).tick is on


def test_a_password_in_a_bad_url_is_not_told_even_in_a_traceback() -> None:
    environment = {"OMS_REDIS_URL": "redis:/:" + "hunter" + "2@ledger"}
    with pytest.raises(ConfigurationError) as caught:
        load_settings(environment)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))
