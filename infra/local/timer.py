"""The reaper's timer: calls `POST /v1/reap` by a fixed beat, as a platform's schedule does.

A sick region can make one call long; the beat goes on meanwhile, as regions being swept are passed
over. Environment: OMS_URL, OMS_SIGNING_KEY, REAP_EVERY_S.
"""

import json
import os
import threading
import time
from pathlib import Path

import httpx

from infra.local.bearer import Bearer
from openmultistack.domain.errors import ConfigurationError

# Calls under way at once; more would only find every region busy.
AT_ONCE = 4
CALL_TIMEOUT_S = 180
TOKEN_TTL_S = 3600


def reap(url: str, bearer: Bearer) -> dict[str, object]:
    """Call the reaper once and return what to log of it; its failure is an entry too."""
    began = time.monotonic()
    line: dict[str, object] = {"event": "reap"}
    try:
        answer = httpx.post(f"{url}/v1/reap", headers=bearer.headers(), timeout=CALL_TIMEOUT_S)
        line["status"] = answer.status_code
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            bearer.refused()
        if answer.is_success:
            line["regions"] = {it["region"]: it["outcome"] for it in answer.json()["regions"]}
    except (httpx.HTTPError, ConfigurationError, ValueError, KeyError) as error:
        line["error"] = type(error).__name__
    return line | {"duration_ms": round((time.monotonic() - began) * 1000)}


def main() -> None:
    """Beat until killed."""
    url, key = os.environ["OMS_URL"], Path(os.environ["OMS_SIGNING_KEY"])
    bearer = Bearer(key, owner="reaper", scopes=["fleet:reap"], ttl_s=TOKEN_TTL_S)
    every_s = float(os.environ["REAP_EVERY_S"])
    places = threading.BoundedSemaphore(AT_ONCE)

    def beat() -> None:
        try:
            print(json.dumps(reap(url, bearer)), flush=True)
        finally:
            places.release()

    while True:
        if places.acquire(blocking=False):
            threading.Thread(target=beat, daemon=True).start()
        time.sleep(every_s)


if __name__ == "__main__":
    main()
