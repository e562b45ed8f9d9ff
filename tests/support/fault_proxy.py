"""A fault proxy as a test has it: a process of its own, and a clouds.yaml that leads through it."""

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import httpx
import openstack
import yaml

from openmultistack.fleet.config import load_fleet

PROXY = Path(__file__).parent.parent / "faults" / "proxy.py"
END_WITHIN_S = 60
IDLE_WITHIN_S = 120


class FaultProxy:
    """A running proxy on free ports; passes everything through until told otherwise."""

    def __init__(self, targets: Mapping[str, str], *, seed: int = 0) -> None:
        named = [f"--target={name}={url}" for name, url in targets.items()]
        self._process = subprocess.Popen(
            [sys.executable, str(PROXY), "--port=0", f"--seed={seed}", *named],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout
        word, _, ready = self._process.stdout.readline().partition(" ")
        if word != "ready":
            self._end()
            raise RuntimeError("the fault proxy did not come up; it said why on stderr")
        document = json.loads(ready)
        # Where each target is reached through the proxy.
        self.urls: dict[str, str] = document["targets"]
        self.control = httpx.Client(base_url=document["control"], timeout=30)

    @classmethod
    def before(cls, clouds_file: Path, *, to: Path, seed: int = 0) -> Self:
        """Stand before every region of a clouds.yaml, as `provider/Region`; write it anew to `to`.

        Logs in everywhere, to learn the real endpoints.
        """
        proxy = cls(compute_endpoints(clouds_file), seed=seed)
        to.write_text(led_through(clouds_file.read_text(), proxy.urls))
        return proxy

    def set_rules(self, target: str, *rules: Mapping[str, Any]) -> None:
        """Have these faults, in this order; counts and chance begin anew."""
        self._command("PUT", target, json=rules)

    def clear(self) -> None:
        """Pass everything through, at every target; the counts stay."""
        for target in self.urls:
            self._command("DELETE", target)

    def counts(self, target: str) -> dict[str, Any]:
        """Return `requests`, `forwarded` and `open` in number, and `done` by kind of fault."""
        return dict(self._command("GET", target))

    def wait_until_idle(self, target: str, *, requests: int = 0) -> None:
        """Return when so many requests have come and none is under way: all is executed then."""
        until = time.monotonic() + IDLE_WITHIN_S
        while (now := self.counts(target))["open"] or now["requests"] < requests:
            assert time.monotonic() < until, f"{target} is still busy"
            time.sleep(0.02)

    def close(self) -> int:
        """End it; returns what the process returned."""
        self.control.close()
        return self._end()

    def _end(self) -> int:
        self._process.terminate()
        try:
            return self._process.wait(END_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()
        finally:
            if self._process.stdout:
                self._process.stdout.close()

    def _command(self, method: str, target: str, **more: Any) -> Any:
        answer = self.control.request(method, f"/faults/{target}", **more)
        assert answer.is_success, answer.text
        return answer.json()


def compute_endpoints(clouds_file: Path) -> dict[str, str]:
    """Return the compute endpoint of each region, as its service catalog has it."""
    config = openstack.config.OpenStackConfig(config_files=[str(clouds_file)], load_envvars=False)
    found = {}
    for name, region in load_fleet(clouds_file, None).regions.items():
        entry = config.get_one(region.provider, region_name=region.region)
        with openstack.connection.Connection(config=entry) as connection:
            endpoint = connection.compute.get_endpoint()
            assert endpoint
            found[name] = endpoint.rstrip("/")
    return found


def led_through(clouds_yaml: str, urls: Mapping[str, str]) -> str:
    """Return a clouds.yaml in which compute is where `urls` says, by `provider/Region`.

    A region's own values, and everything else, stay as they are.
    """
    document = yaml.safe_load(clouds_yaml)
    for provider, entry in document["clouds"].items():
        listed = entry.get("regions") or [entry["region_name"]]
        entry["regions"] = [_overridden(it, provider, urls) for it in listed]
    return yaml.safe_dump(document, sort_keys=False)


def _overridden(
    region: str | Mapping[str, Any], provider: str, urls: Mapping[str, str]
) -> dict[str, Any]:
    known: dict[str, Any] = {"name": region} if isinstance(region, str) else dict(region)
    own = {"compute_endpoint_override": urls[f"{provider}/{known['name']}"]}
    return known | {"values": {**(known.get("values") or {}), **own}}
