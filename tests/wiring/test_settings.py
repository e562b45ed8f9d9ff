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
    ],
)
def test_a_bad_variable_is_refused_by_its_name(variable: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"^environment: {variable}: "):
        load_settings({variable: value})


def test_a_password_in_a_bad_url_is_not_told_even_in_a_traceback() -> None:
    environment = {"OMS_REDIS_URL": "redis:/:" + "hunter" + "2@ledger"}
    with pytest.raises(ConfigurationError) as caught:
        load_settings(environment)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))
