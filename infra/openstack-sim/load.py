"""Says how many requests a second a running simulation answers: servers made, seen and deleted."""

import argparse
import asyncio
import time
from collections import Counter
from itertools import count
from pathlib import Path
from typing import Any

import yaml
from aiohttp import ClientSession, TCPConnector


async def main(told: argparse.Namespace, clouds: dict[str, Any]) -> None:
    """Have clients live through servers in all regions at once, and print what was answered."""
    answers: Counter[str] = Counter()
    async with ClientSession(connector=TCPConnector(limit=0)) as http:
        novas = [it for cloud in clouds.values() for it in await log_in(http, cloud)]
        began = time.monotonic()
        end = began + told.seconds
        clients = (
            client(http, novas[n % len(novas)], n, end, answers) for n in range(told.clients)
        )
        await asyncio.gather(*clients)
        took_s = time.monotonic() - began
    print(f"{answers.total() / took_s:.0f} requests/s;", dict(answers.most_common()))


def arguments() -> argparse.Namespace:
    """Return what the command was told."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clouds_file", type=Path)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=10)
    return parser.parse_args()


async def log_in(http: ClientSession, cloud: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the Novas of a provider: URL, headers, and the body of a create."""
    auth = cloud["auth"]
    user = {"name": auth["username"], "password": auth["password"], "domain": {"id": "default"}}
    identity = {"methods": ["password"], "password": {"user": user}}
    scope = {"project": {"name": auth["project_name"], "domain": {"id": "default"}}}
    body = {"auth": {"identity": identity, "scope": scope}}
    async with http.post(f"{auth['auth_url']}/auth/tokens", json=body) as answer:
        token = answer.headers["X-Subject-Token"]
    headers = {"X-Auth-Token": token, "OpenStack-API-Version": "compute 2.90"}
    root = auth["auth_url"].removesuffix("/identity/v3")
    return [await nova(http, f"{root}/{region}", headers) for region in cloud["regions"]]


async def nova(http: ClientSession, url: str, headers: dict[str, str]) -> dict[str, Any]:
    """Return a Nova with what its smallest server is made of."""
    found = []
    for path in ("compute/v2.1/flavors/detail", "image/v2/images", "network/v2.0/networks"):
        async with http.get(f"{url}/{path}", headers=headers) as answer:
            document = await answer.json()
        found.append(next(it for it in document.values() if isinstance(it, list))[0]["id"])
    flavor, image, network = found
    server = {"flavorRef": flavor, "imageRef": image, "networks": [{"uuid": network}]}
    return {"url": f"{url}/compute/v2.1", "headers": headers, "server": server}


async def client(
    http: ClientSession, nova: dict[str, Any], number: int, end: float, answers: Counter[str]
) -> None:
    """Make a server, look at it, at all and at those of its name, delete it; again and again."""

    async def ask(method: str, path: str, body: object = None) -> Any:  # noqa: ANN401  JSON
        url = nova["url"] + path
        async with http.request(method, url, json=body, headers=nova["headers"]) as answer:
            answers[f"{method} {answer.status}"] += 1
            return await answer.json() if answer.status < 300 and method != "DELETE" else None  # noqa: PLR2004

    for turn in count():
        if time.monotonic() > end:
            return
        name = f"load-{number}-{turn}"
        made = await ask("POST", "/servers", {"server": nova["server"] | {"name": name}})
        await ask("GET", "/servers/detail")
        await ask("GET", f"/servers/detail?name=^{name}$")
        await ask("GET", "/limits")
        if made:
            await ask("GET", f"/servers/{made['server']['id']}")
            await ask("DELETE", f"/servers/{made['server']['id']}")


if __name__ == "__main__":
    told = arguments()
    asyncio.run(main(told, yaml.safe_load(told.clouds_file.read_text())["clouds"]))
