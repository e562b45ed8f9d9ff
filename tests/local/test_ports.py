"""Blocks of ports: claimed by one alone, given back at any end, and never where others listen."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from infra.local import ports

PROGRAM = """
import sys
from infra.local.ports import claim_block, free_port
print(claim_block().base, [free_port() for _ in range(300)], flush=True)
sys.stdin.read()
"""


@pytest.fixture
def claim() -> Iterator[ports.Claim]:
    claimed = ports.claim_block(lab=True)
    yield claimed
    claimed.release()


def test_a_block_that_is_claimed_is_given_to_nobody_else(claim: ports.Claim) -> None:
    """Neither it nor its laboratory's part, though nobody listens there yet."""
    assert ports.claim_base(claim.base) is None
    assert [ports.claim_base(unit) for unit in claim.units] == [None] * 4
    other = ports.claim_block(lab=True)
    assert not set(other.ports()) & set(claim.ports())
    other.release()


def test_a_block_is_free_again_when_it_is_released(claim: ports.Claim) -> None:
    claim.release()
    again = ports.claim_base(claim.base, lab=True)
    assert again
    again.release()


def test_the_laboratorys_ports_are_in_the_block(claim: ports.Claim) -> None:
    """As its own command tells them, which is asked nothing else."""
    lab = Path(__file__).parents[2] / "infra" / "openstack-lab" / "lab.py"
    home = {"LAB_HOME": "/nowhere", "LAB_PORT_BASE": str(claim.base + 5000)}
    told = subprocess.run(
        [sys.executable, lab, "ports"], env=os.environ | home, check=True, capture_output=True
    )
    wanted = json.loads(told.stdout)
    assert len(wanted) == 15
    assert set(wanted.values()) <= set(claim.ports())


def test_a_block_with_a_listener_in_it_is_passed_over(claim: ports.Claim) -> None:
    claim.release()
    with socket.create_server(("127.0.0.1", claim.base + 5000 + 306)):
        assert ports.claim_base(claim.base, lab=True) is None
        other = ports.claim_block(lab=True, wanted=claim.base)
        assert claim.base + 5000 not in other.units
        other.release()


def test_what_the_same_home_left_running_is_not_in_the_way(
    claim: ports.Claim, tmp_path: Path
) -> None:
    """A run that was killed leaves its stack; the next one of that home goes on with it."""
    claim.release()
    program = "import socket, sys; it = socket.create_server(('127.0.0.1', int(sys.argv[1])))"
    command = [sys.executable, "-c", f"{program}; print('on', flush=True); sys.stdin.read()"]
    marked = os.environ | {ports.STACK_MARK: str(tmp_path)}
    with subprocess.Popen(
        [*command, str(claim.base)], env=marked, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as left:
        assert left.stdout
        assert left.stdin
        left.stdout.readline()
        assert ports.claim_base(claim.base) is None
        assert ports.describe_holder(claim.base) == f"the stack in {tmp_path}"
        mine = ports.claim_base(claim.base, home=tmp_path)
        assert mine
        mine.release()
        left.stdin.close()


def test_two_processes_are_given_different_ports_and_a_killed_one_gives_them_back() -> None:
    """Blocks and single ports alike, asked for at the same time."""
    folder = Path(ports.__file__).parent
    started = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            env=os.environ | {"PYTHONPATH": str(folder)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    told = [it.stdout.readline() for it in started]  # type: ignore[union-attr]
    bases = [int(line.split()[0]) for line in told]
    singles = [set(map(int, line.partition("[")[2].strip("]\n").split(","))) for line in told]
    for it in started:
        it.kill()
        it.communicate()
    assert len(set(bases)) == 3
    assert not singles[0] & singles[1] | singles[1] & singles[2] | singles[0] & singles[2]
    assert all(len(them) == ports.UNIT - 1 for them in singles)
    again = [ports.claim_base(base) for base in bases]
    assert None not in again
    for claim in again:
        claim.release()  # type: ignore[union-attr]


def test_a_process_that_ends_by_itself_has_closed_what_it_claimed() -> None:
    """Also a claim that nobody has a name for, as that of the single ports."""
    program = PROGRAM.removesuffix("sys.stdin.read()\n")
    done = subprocess.run(
        [sys.executable, "-W", "always::ResourceWarning", "-c", program],
        env=os.environ | {"PYTHONPATH": str(Path(ports.__file__).parent)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""


def test_somebody_elses_program_is_named_with_its_pid(free_port) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as server:
        said = ports.describe_holder(server.getsockname()[1])
    assert said == f"another program ({psutil.Process().name()}, pid {os.getpid()})"
