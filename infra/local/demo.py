"""The demo: 45 instances over all regions with nobody naming one, then ten destroyed.

It types what a person would, shows it, and checks what came of it.
"""

import json
import os
import shlex
import subprocess
import sys
import time
from collections import Counter
from typing import Any

from infra.local.layout import StackError, stack_at
from infra.local.watchers import BIN
from openmultistack.cli.failures import printable

COUNT, DESTROYED, CAP = 45, 10, 20
MARK = "demo=true"
GONE_WITHIN_S = 120


def oms(environment: dict[str, str], *arguments: str) -> None:
    """Run the command line as a person would, and show it."""
    print(f"\n$ oms {shlex.join(arguments)}", flush=True)
    done = subprocess.run([str(BIN / "oms"), *arguments], env=environment, check=False)
    if done.returncode:
        raise StackError(f"`oms {arguments[0]}` failed with exit code {done.returncode}")


def ask(environment: dict[str, str], *arguments: str) -> dict[str, Any]:
    """Return the document that a command answers, without showing it."""
    command = [str(BIN / "oms"), *arguments, "--json"]
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    if done.returncode:
        raise StackError(f"`oms {arguments[0]}` failed: {done.stderr.strip()}")
    return dict(json.loads(done.stdout))


def instances(environment: dict[str, str]) -> list[dict[str, Any]]:
    """Return the demo's instances that are not DELETED."""
    return list(ask(environment, "list", "--label", MARK)["instances"])


def wait_until_left(environment: dict[str, str], left: int) -> None:
    """Wait until so many of the demo's instances are left in cloud and ledger."""
    until = time.monotonic() + GONE_WITHIN_S
    while len(instances(environment)) > left:
        if time.monotonic() > until:
            raise StackError(f"destroyed instances are still there after {GONE_WITHIN_S} s")
        time.sleep(1)


def held_in_all(environment: dict[str, str]) -> int:
    """Return how many slots are held in all regions together."""
    return sum(it["held"] for it in ask(environment, "regions")["regions"])


def check_created(environment: dict[str, str]) -> str:
    """Return in a sentence what was created.

    Raises:
        StackError: it is not what the demo promises.
    """
    made = [it for it in instances(environment) if it["status"] == "ACTIVE" and it["addresses"]]
    regions = Counter(it["region"] for it in made)
    known = {it["region"] for it in ask(environment, "regions")["regions"]}
    where = ", ".join(f"{count} in {region}" for region, count in sorted(regions.items()))
    if len(made) != COUNT or set(regions) != known or max(regions.values()) > CAP:
        raise StackError(f"expected {COUNT} ACTIVE in every region, {CAP} at most: {where}")
    return f"{COUNT} instances ACTIVE with addresses: {where}"


def main() -> int:
    """Run the demo; exit 1 with a sentence if it does not come out as it should."""
    stack = stack_at(os.environ)
    env_file = (stack.home / "env").read_text()
    environment = os.environ | dict(
        shlex.split(line)[0].split("=", 1) for line in env_file.splitlines()
    )
    began = time.monotonic()
    if instances(environment):
        oms(environment, "destroy", "--label", MARK, "--yes")
        wait_until_left(environment, 0)
    create = ["create", "--count", str(COUNT), "--image", "debian-12", "--size", "small"]
    oms(environment, *create, "--label", MARK, "--wait")
    created = check_created(environment)
    oms(environment, "regions")
    held = held_in_all(environment)
    victims = [it["id"] for it in instances(environment)[:DESTROYED]]
    oms(environment, "destroy", *victims, "--yes")
    wait_until_left(environment, COUNT - DESTROYED)
    if held_in_all(environment) > held - DESTROYED:
        raise StackError(f"{DESTROYED} instances are destroyed, but their slots are not free")
    oms(environment, "regions")
    took_s = time.monotonic() - began
    print(f"\nDemo done in {took_s:.0f} s: {created}; {DESTROYED} destroyed, their slots are free.")
    print("`make status` tells what runs, `make down` ends it.")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except StackError as error:
        print(printable(f"make demo: {error}"), file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("\ninterrupted; `make demo` again starts over, `make down` ends what runs")
        sys.exit(130)
