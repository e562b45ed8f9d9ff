"""The renderer: what it refuses, and that Envoy takes what it prints."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent.parent
NAMES = ("create", "destroy", "list", "reap", "renew")
FUNCTIONS = {name: [("127.0.0.1", 20100)] for name in NAMES}


def render(bootstrap, issuers_file, *, admin="127.0.0.1", functions=None):
    """Return the configuration for an issuers file."""
    return bootstrap(
        issuers_file=issuers_file,
        listen=("0.0.0.0", 20000),  # noqa: S104  rendered, not listened on
        admin=(admin, 20001),
        functions=FUNCTIONS if functions is None else functions,
    )


@pytest.mark.parametrize("issuers", ["none.yaml", "one.yaml", "two.yaml"])
def test_envoy_takes_what_the_command_prints(home, tmp_path, issuers):
    command = [sys.executable, str(ROOT / "infra" / "gateway" / "render.py")]
    command += ["--issuers", str(home / issuers)]
    command += ["--listen", "127.0.0.1:20000", "--admin", "127.0.0.1:20001"]
    command += ["--timeout", "create=2.5"]
    for name in NAMES:
        command += ["--function", f"{name}=127.0.0.1:20100,127.0.0.1:20101"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    file = tmp_path / "envoy.json"
    file.write_text(printed)
    envoy = [str(Path(sys.executable).parent / "envoy"), "--mode", "validate", "-c", str(file)]
    done = subprocess.run(envoy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr


def test_the_same_input_gives_the_same_configuration(bootstrap, home):
    assert json.dumps(render(bootstrap, home / "two.yaml")) == json.dumps(
        render(bootstrap, home / "two.yaml")
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"algorithms": ["HS256"]},
        {"algorithms": ["ES256", "none"]},
        {"algorithms": ["RS256"]},  # the keys are for another
        {"algorithms": []},
        {"audience": ""},
        {"issuer": ""},
        {"issuer": None},
        {"jwks_file": "none.yaml"},
    ],
)
def test_an_issuer_that_lets_in_too_many_is_refused(bootstrap, home, changed):
    issuer = yaml.safe_load((home / "one.yaml").read_text())["issuers"][0]
    file = home / "changed.yaml"
    file.write_text(yaml.safe_dump({"issuers": [issuer | changed]}))
    with pytest.raises(ValueError, match=r"\.(yaml|json): "):
        render(bootstrap, file)


@pytest.mark.parametrize("text", ["issuers: x", "issuers: [x]", "issuers: [{}]", "a: b: c"])
def test_a_file_that_lists_no_issuers_properly_is_refused(bootstrap, tmp_path, text):
    file = tmp_path / "issuers.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match="expected a list"):
        render(bootstrap, file)


@pytest.mark.parametrize("text", ["", "{}", "issuers:"])
def test_an_empty_file_believes_nobody(bootstrap, home, tmp_path, text):
    file = tmp_path / "issuers.yaml"
    file.write_text(text)
    assert render(bootstrap, file) == render(bootstrap, home / "none.yaml")


def test_a_missing_file_is_no_empty_file(bootstrap, tmp_path):
    with pytest.raises(FileNotFoundError):
        render(bootstrap, tmp_path / "issuers.yaml")


def test_only_this_machine_reaches_the_admin_interface(bootstrap, home):
    with pytest.raises(ValueError, match="loopback"):
        render(bootstrap, home / "one.yaml", admin="0.0.0.0")  # noqa: S104  is refused


def test_a_function_without_an_address_is_refused(bootstrap, home):
    for functions in ({}, FUNCTIONS | {"reap": []}):
        with pytest.raises(ValueError, match="reap"):
            render(bootstrap, home / "one.yaml", functions=functions)
