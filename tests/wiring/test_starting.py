"""A start leaves out what libraries import for nothing; afterwards it is there as ever."""

import subprocess
import sys

import pytest

from openmultistack.wiring.lean_imports import UNUSED

LEAN = """
import gc, importlib, sys
from openmultistack.wiring.lean_imports import lean_imports
with lean_imports():
    importlib.import_module(sys.argv[2])
    assert not gc.isenabled()
assert gc.isenabled()
left_out = sys.argv[1]
print(any(it == left_out or it.startswith(left_out + ".") for it in sys.modules))
print(importlib.import_module(left_out).__file__)
"""
USERS = {
    "openstack.connection": "openstack.config",
    "cryptography.x509": "jose.jwt",
    "redis.asyncio": "redis",
    "cryptography.hazmat.primitives.serialization.ssh": "jose.jwt",
}


def test_each_module_left_out_has_a_library_that_it_is_tried_with() -> None:
    assert set(USERS) == set(UNUSED)


@pytest.mark.parametrize("left_out", UNUSED)
def test_what_is_left_out_can_be_imported_afterwards(left_out: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LEAN, left_out, USERS[left_out]],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    before, file = done.stdout.splitlines()
    assert (before, file.endswith(".py")) == ("False", True)
