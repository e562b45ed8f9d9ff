"""The renderer: what it refuses, and that Envoy takes what it prints."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jose import jwk

from openmultistack.errors import ConfigurationError
from openmultistack.strict import encode_base64url

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


def test_envoy_takes_every_kind_of_key_that_is_read(bootstrap, home, tmp_path):
    """One that Envoy refused would have the whole gateway refuse to start, or to take new keys."""
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
    config = render(bootstrap, tmp_path / "issuers.yaml")
    (tmp_path / "envoy.json").write_text(json.dumps(config))
    envoy = [str(Path(sys.executable).parent / "envoy"), "--mode", "validate"]
    envoy += ["-c", str(tmp_path / "envoy.json")]
    done = subprocess.run(envoy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_same_input_gives_the_same_configuration(bootstrap, home):
    assert json.dumps(render(bootstrap, home / "two.yaml")) == json.dumps(
        render(bootstrap, home / "two.yaml")
    )


def test_what_the_functions_refuse_of_the_issuers_is_refused_here_in_the_same_words(
    bootstrap, home, tmp_path
):
    """Every way is in tests/unit/test_issuers.py and test_keys.py: the reader is the same one."""
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
            render(bootstrap, file)
    with pytest.raises(ConfigurationError, match=r"issuers\.yaml: cannot be read"):
        render(bootstrap, tmp_path / "issuers.yaml")


def test_what_is_wrong_is_one_sentence_of_the_command(home):
    command = [sys.executable, str(ROOT / "infra" / "gateway" / "render.py")]
    command += ["--issuers", str(home / "absent.yaml")]
    for name in NAMES:
        command += ["--function", f"{name}=127.0.0.1:20100"]
    command += ["--listen", "127.0.0.1:20000", "--admin", "127.0.0.1:20001"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"render.py: {home / 'absent.yaml'}: cannot be read")
    assert done.stderr.count("\n") == 1


def test_nothing_private_of_a_key_reaches_the_configuration(bootstrap, home, tmp_path):
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
    printed = json.dumps(render(bootstrap, tmp_path / "issuers.yaml"))
    assert key["x"] in printed
    assert key["d"] not in printed
    assert "of-nobodys-business" not in printed


def test_only_this_machine_reaches_the_admin_interface(bootstrap, home):
    with pytest.raises(ValueError, match="loopback"):
        render(bootstrap, home / "one.yaml", admin="0.0.0.0")  # noqa: S104  is refused


def test_a_function_without_an_address_is_refused(bootstrap, home):
    for functions in ({}, FUNCTIONS | {"reap": []}):
        with pytest.raises(ValueError, match="reap"):
            render(bootstrap, home / "one.yaml", functions=functions)
