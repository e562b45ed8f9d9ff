"""An OpenStack spoken to without an SDK, and the control of the simulated one."""

from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import yaml

LABEL = "p2/RegionTwo"
VERSION = "OpenStack-API-Version"


class Region:
    """A region of any OpenStack, spoken to without an SDK."""

    def __init__(self, http: httpx.Client, clouds_file: Path, label: str) -> None:
        self.http = http
        provider, self.name = label.split("/")
        self.login = yaml.safe_load(clouds_file.read_text())["clouds"][provider]["auth"]
        answer = self.log_in(self.login["password"])
        self.token = answer.headers["X-Subject-Token"]
        self.urls = {
            service["type"]: endpoint["url"]
            for service in answer.json()["token"]["catalog"]
            for endpoint in service["endpoints"]
            if (endpoint["region"], endpoint["interface"]) == (self.name, "public")
        }

    def log_in(self, password: str) -> httpx.Response:
        """Ask Keystone for a token."""
        domain, login = {"id": "default"}, self.login
        user = {"name": login["username"], "domain": domain, "password": password}
        identity = {"methods": ["password"], "password": {"user": user}}
        scope = {"project": {"name": login["project_name"], "domain": domain}}
        body = {"auth": {"identity": identity, "scope": scope}}
        return self.http.post(f"{login['auth_url']}/auth/tokens", json=body)

    def ask(
        self, method: str, path: str, body: Any = None, version: str = "2.90", **more: Any
    ) -> httpx.Response:
        """Ask Nova."""
        headers = {"X-Auth-Token": self.token, VERSION: f"compute {version}"}
        return self.http.request(
            method, self.urls["compute"] + path, json=body, headers=headers, **more
        )

    def wanted(self, **more: Any) -> dict[str, Any]:
        """Return the body of a create: the smallest server, and what is said otherwise."""
        of = self.offered
        server: dict[str, Any] = {
            "name": "s",
            "flavorRef": of["m1.tiny"],
            "imageRef": of["debian-12"],
        }
        networks = {"networks": [{"uuid": of["ci-net"]}]}
        return {"server": {k: v for k, v in (server | networks | more).items() if v is not ...}}

    @property
    def offered(self) -> dict[str, str]:
        """Return the ids of flavors, images and networks by their names."""
        headers = {"X-Auth-Token": self.token}
        places = ("compute/flavors/detail", "image/v2/images", "network/v2.0/networks")
        found: dict[str, str] = {}
        for kind, path in (it.split("/", 1) for it in places):
            answer = self.http.get(f"{self.urls[kind]}/{path}", headers=headers).json()
            things = answer[path.split("/")[-1 if kind != "compute" else 0]]
            found |= {it["name"]: it["id"] for it in things}
        return found

    def make(self, **more: Any) -> str:
        """Make a server and return its id."""
        answer = self.ask("POST", "/servers", self.wanted(**more))
        assert answer.status_code == HTTPStatus.ACCEPTED, answer.text
        return str(answer.json()["server"]["id"])

    def show(self, server_id: str) -> dict[str, Any]:
        """Return a server."""
        return dict(self.ask("GET", f"/servers/{server_id}").json()["server"])

    def names(self, query: str) -> list[str]:
        """Return the names of the servers that a query finds."""
        found = self.ask("GET", f"/servers/detail?{query}").json()["servers"]
        return [it["name"] for it in found]


class Control:
    """What a test tells the simulation, and is told."""

    def __init__(self, http: httpx.Client, url: str) -> None:
        self.http = http
        self.url = f"{url}/sim"

    def change(self, **conduct: float) -> httpx.Response:
        """Make the region behave otherwise."""
        return self.http.patch(f"{self.url}/regions/{LABEL}", json=conduct)

    def stats(self) -> dict[str, Any]:
        """Return what happened in the region."""
        return dict(self.http.get(f"{self.url}/stats").json()["regions"][LABEL])

    def servers(self) -> dict[str, Any]:
        """Return all servers, and all that ever were."""
        return dict(self.http.get(f"{self.url}/servers").json())
