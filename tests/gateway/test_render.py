"""The renderer: what it refuses, and that Envoy takes what it prints."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jose import jwk

from infra.gateway import gate
from infra.gateway.render import bootstrap
from openmultistack.auth.issuers import load_issuers
from openmultistack.domain.errors import ConfigurationError
from openmultistack.domain.strict import encode_base64url
from openmultistack.wiring.doors import DOORS

ROOT = Path(__file__).parent.parent.parent
FUNCTIONS = {name: [("127.0.0.1", 20100)] for name in DOORS}


ENVOY = str(Path(sys.executable).parent / "envoy")
RENDER = [sys.executable, "-m", "infra.gateway.render"]


def render(*, admin="127.0.0.1", functions=None, folder=Path("/nowhere")):
    """Return the configuration for a gate in a folder."""
    return bootstrap(
        gate_file=folder / "gate.json",
        listen=("0.0.0.0", 20000),  # noqa: S104  rendered, not listened on
        admin=(admin, 20001),
        functions=FUNCTIONS if functions is None else functions,
    )


def told(issuers_file):
    """Return what the gate says for an issuers file."""
    return gate.document(load_issuers(issuers_file).values())


def printed(folder, issuers_file, *more, of="127.0.0.1:20100"):
    """Run the command, which leaves its gate in a folder."""
    command = [*RENDER, "--issuers", str(issuers_file), "--gate", str(folder / "gate.json")]
    command += ["--listen", "127.0.0.1:20000", "--admin", "127.0.0.1:20001", *more]
    for name in DOORS:
        command += ["--function", f"{name}={of}"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def expect_taken(config, folder):
    """Have Envoy try a configuration, with the folder's gate as well in the place of its name."""
    document = (folder / "gate.json").read_text()
    (folder / "envoy.json").write_text(json.dumps(config))
    _expect_valid(folder / "envoy.json")
    manager = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]
    (resource,) = json.loads(document)["resources"]
    first = manager["typed_config"]["http_filters"][0]
    assert first["name"] == resource["name"]
    assert resource["typed_config"]["@type"] in first["config_discovery"]["type_urls"]
    manager["typed_config"]["http_filters"][0] = {
        "name": resource["name"],
        "typed_config": resource["typed_config"],
    }
    (folder / "whole.json").write_text(json.dumps(config))
    _expect_valid(folder / "whole.json")


def _expect_valid(file):
    command = [ENVOY, "--mode", "validate", "-c", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr


@pytest.mark.parametrize("issuers", ["none.yaml", "one.yaml", "two.yaml"])
def test_envoy_takes_what_the_command_prints_and_writes(home, tmp_path, issuers):
    of = "127.0.0.1:20100,127.0.0.1:20101"
    done = printed(tmp_path, home / issuers, "--timeout", "create=2.5", of=of)
    assert (done.returncode, done.stderr) == (0, "")
    expect_taken(json.loads(done.stdout), tmp_path)


def test_envoy_takes_every_kind_of_key_that_is_read(home, tmp_path):
    """One that Envoy refused would have the gateway go on with those before, or let nobody in."""
    private = [
        ("ES256", ec.generate_private_key(ec.SECP256R1()).public_key()),
        ("ES384", ec.generate_private_key(ec.SECP384R1()).public_key()),
        ("ES512", ec.generate_private_key(ec.SECP521R1()).public_key()),
        *((it, rsa.generate_private_key(65537, 2048).public_key()) for it in ("RS256", "RS512")),
        ("RS384", rsa.generate_private_key(3, 2048).public_key()),
    ]
    keys = [jwk.construct(key, alg).to_dict() | {"kid": alg} for alg, key in private]
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": keys}))
    issuer = yaml.safe_load((home / "one.yaml").read_text())["issuers"][0]
    issuer |= {"jwks_file": "jwks.json", "algorithms": [alg for alg, _ in private]}
    (tmp_path / "issuers.yaml").write_text(yaml.safe_dump({"issuers": [issuer]}))
    (tmp_path / "gate.json").write_text(told(tmp_path / "issuers.yaml"))
    expect_taken(render(folder=tmp_path), tmp_path)


def test_the_same_input_gives_the_same_configuration(home):
    assert json.dumps(render()) == json.dumps(render())
    assert told(home / "two.yaml") == told(home / "two.yaml")
    versions = [json.loads(told(home / it))["version_info"] for it in ("one.yaml", "two.yaml")]
    assert versions[0] != versions[1]


def test_what_envoy_does_not_know_of_changes_nothing_of_the_gate(home):
    """Revoked tokens, prefixes and claims are for the functions."""
    issuer = yaml.safe_load((home / "one.yaml").read_text())["issuers"][0]
    more = {"revoked": ["a"], "not_before": 9, "owner_prefix": "p:", "scope_claim": "roles"}
    (home / "more.yaml").write_text(yaml.safe_dump({"issuers": [issuer | more]}))
    assert told(home / "more.yaml") == told(home / "one.yaml")


def test_what_the_functions_refuse_of_the_issuers_is_refused_here_in_the_same_words(home, tmp_path):
    """Every way is in tests/auth/test_issuers.py and test_keys.py: the reader is the same one."""
    issuer = yaml.safe_load((home / "one.yaml").read_text())["issuers"][0]
    file = home / "changed.yaml"
    secret = {"keys": [{"kty": "oct", "kid": "shared", "k": "c2VjcmV0"}]}
    (home / "secret.json").write_text(json.dumps(secret))
    for changed, said in (
        ({"algorithms": ["HS256"]}, r"changed\.yaml: issuers\.algorithms: .*expected"),
        ({"algorithms": ["RS256"]}, r"jwks\.json: keys: has no key that is for RS256"),
        ({"jwks_file": "secret.json"}, r"secret\.json: key 'shared': .*shared secret"),
        ({"jwks_file": "absent.json"}, r"absent\.json: cannot be read"),
    ):
        file.write_text(yaml.safe_dump({"issuers": [issuer | changed]}))
        with pytest.raises(ConfigurationError, match=said):
            told(file)
    with pytest.raises(ConfigurationError, match=r"issuers\.yaml: cannot be read"):
        told(tmp_path / "issuers.yaml")


def test_what_is_wrong_is_one_sentence_of_the_command_and_leaves_the_gate(home, tmp_path):
    (tmp_path / "gate.json").write_text("as before")
    done = printed(tmp_path, home / "absent.yaml")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"render.py: {home / 'absent.yaml'}: cannot be read")
    assert done.stderr.count("\n") == 1
    assert (tmp_path / "gate.json").read_text() == "as before"
    done = printed(tmp_path / "nowhere", home / "one.yaml")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"render.py: {tmp_path / 'nowhere' / 'gate.json'}: cannot be")
    assert done.stderr.count("\n") == 1


def test_the_gate_is_its_users_alone_whatever_was_there(home, tmp_path):
    file = tmp_path / "gate.json"
    for left in (file, tmp_path / "gate.json.new"):
        left.write_text("of before")
        left.chmod(0o644)
    umask = os.umask(0)
    try:
        gate.put(file, told(home / "one.yaml"))
    finally:
        os.umask(umask)
    assert file.read_text() == told(home / "one.yaml")
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]


def test_nothing_private_of_a_key_reaches_the_configuration(home, tmp_path):
    """Somebody may put the private key, or more than that, where only public ones belong."""
    private = ec.generate_private_key(ec.SECP256R1())
    secret = private.private_numbers().private_value.to_bytes(32, "big")
    key = json.loads((home / "own" / "jwks.json").read_text())["keys"][0]
    numbers = private.public_key().public_numbers()
    key |= {
        "x": encode_base64url(numbers.x.to_bytes(32, "big")),
        "y": encode_base64url(numbers.y.to_bytes(32, "big")),
        "d": encode_base64url(secret),
        "note": "of-nobodys-business",
    }
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [key]}))
    issuer = yaml.safe_load((home / "one.yaml").read_text())["issuers"][0]
    (tmp_path / "issuers.yaml").write_text(
        yaml.safe_dump({"issuers": [issuer | {"jwks_file": "jwks.json"}]})
    )
    done = printed(tmp_path, tmp_path / "issuers.yaml")
    written = (tmp_path / "gate.json").read_text()
    assert key["x"] in written
    for secret_of_it in (key["d"], "of-nobodys-business"):
        assert secret_of_it not in written
        assert secret_of_it not in done.stdout


def test_only_this_machine_reaches_the_admin_interface():
    with pytest.raises(ValueError, match="loopback"):
        render(admin="0.0.0.0")  # noqa: S104  is refused


def test_a_function_without_an_address_is_refused():
    for functions in ({}, FUNCTIONS | {"reap": []}):
        with pytest.raises(ValueError, match="reap"):
            render(functions=functions)
