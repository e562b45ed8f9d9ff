"""The stack's own API, asked by `up` and `status`; and until when `up` is not READY."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import httpx

from infra.local.bearer import Bearer
from infra.local.layout import Stack, StackError
from openmultistack.auth.principal import SCOPES
from openmultistack.fleet.config import load_fleet

SWEPT_WITHIN_S = 180
TOKEN_TTL_S = 300


def call(stack: Stack, method: str, path: str) -> dict[str, Any]:
    """Return what the API answers, or nothing while it does not answer well."""
    bearer, url = _bearer(stack.keys / "signing.pem"), f"{stack.url}/v1/{path}"
    try:
        answer = httpx.request(method, url, headers=bearer.headers(), timeout=SWEPT_WITHIN_S)
        return answer.json() if answer.is_success else {}
    except httpx.HTTPError:
        return {}


@cache
def _bearer(key: Path) -> Bearer:
    return Bearer(key, owner="reaper", scopes=SCOPES, ttl_s=TOKEN_TTL_S)


def first_sweep(stack: Stack, say: Callable[[str], None]) -> None:
    """Wait until the reaper has looked at every region of the files as they are now.

    One that cannot be reached was looked at, too; it is named with its reason.

    Raises:
        StackError: a region was not looked at in time.
    """
    say("the reaper looks at the regions")
    wanted = sorted(load_fleet(stack.clouds_file, stack.fleet_file).regions)
    until = time.monotonic() + SWEPT_WITHIN_S
    # An earlier look, as before the last `down`, tells nothing of now.
    since = datetime.now(UTC).replace(microsecond=0)
    states: dict[str, str] = {}
    while not set(wanted) <= set(states):
        if time.monotonic() > until:
            unseen = ", ".join(it for it in wanted if it not in states)
            raise StackError(f"not READY: the reaper did not get to {unseen} in {SWEPT_WITHIN_S} s")
        call(stack, "POST", "reap")
        regions = call(stack, "GET", "regions").get("regions", [])
        states = {it["region"]: _state(it) for it in regions if _looked_at(it) >= since}
        time.sleep(0.5)
    for region in wanted:
        say(f"{region} is {states[region]}")
    if any(states[region] != "up" for region in wanted):
        say("run `oms doctor` (see below) to hear what to mend")


def _state(region: dict[str, Any]) -> str:
    why = region["last_error"]
    return region["state"] if region["state"] == "up" or not why else f"{region['state']}: {why}"


def _looked_at(region: dict[str, Any]) -> datetime:
    """Return when a sweep last came to an end in a region, well or not."""
    times = [region["swept_at"], region["last_error_at"]]
    return max(datetime.fromisoformat(it or "1970-01-01T00:00:00Z") for it in times)
