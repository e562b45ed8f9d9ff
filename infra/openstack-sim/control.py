"""What `/sim/` serves: what happened, what there is, and how regions behave."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields, replace
from http import HTTPStatus
from typing import Any

from aiohttp import web
from calls import Answer, parsed, refused
from faults import Fault
from region import Conduct, Order, Region, Server
from world import Provider

SHARES = ("spawn_fail", "destroy_fail")
QUOTAS = ("instances", "cores", "ram_mb", "keypairs", "metadata_items")
SWITCHES = ("ed25519",)
KINDS = ("flavors", "images", "networks")
NEWEST_MINOR = 96  # no later one is served
LONGEST = 86_400_000  # a day in ms; no time is longer


class Control:
    """The handlers; everything is at /sim/regions/{provider}/{region} or for all regions."""

    def __init__(self, providers: Mapping[str, Provider]) -> None:
        self._providers = providers

    def routes(self) -> Iterator[web.RouteDef]:
        """Give the routes."""
        place = "/sim/regions/{provider}/{region}"
        yield web.get("/sim/stats", self.stats)
        yield web.get("/sim/servers", self.servers)
        yield web.get("/sim/requests", self.requests)
        yield web.post("/sim/reset", self.reset)
        yield web.delete("/sim/tokens", self.revoke)
        yield web.get(place, self.show)
        yield web.patch(place, self.change)
        yield web.patch(f"{place}/offered", self.change_offered)
        yield web.post(f"{place}/servers", self.make_foreign)
        yield web.patch(f"{place}/servers", self.change_servers)

    def _regions(self) -> Iterator[Region]:
        for provider in self._providers.values():
            yield from provider.regions.values()

    def _region(self, request: web.Request) -> Region:
        provider, region = request.match_info["provider"], request.match_info["region"]
        try:
            return self._providers[provider].regions[region]
        except KeyError:
            raise web.HTTPNotFound(text=f"no region {provider}/{region}") from None

    async def stats(self, _request: web.Request) -> web.Response:
        """Count, for each region and for each provider's login."""
        document = {
            "regions": {it.label: _stats(it) for it in self._regions()},
            "providers": {name: it.keystone.calls for name, it in self._providers.items()},
            "cpu_s": time.process_time(),
        }
        return Answer(HTTPStatus.OK, document).response()

    async def servers(self, _request: web.Request) -> web.Response:
        """List the servers there are, and in `history` all that ever were, in order."""
        document = {
            "servers": [_view(it, s) for it in self._regions() for s in it.servers.values()],
            "history": [_view(it, s) for it in self._regions() for s in it.history],
        }
        return Answer(HTTPStatus.OK, document).response()

    async def requests(self, _request: web.Request) -> web.Response:
        """List the last requests of each region that changed something."""
        document = {it.label: list(it.requests) for it in self._regions()}
        return Answer(HTTPStatus.OK, document).response()

    async def reset(self, _request: web.Request) -> web.Response:
        """Forget everything but the tokens."""
        for region in self._regions():
            region.reset()
        for provider in self._providers.values():
            provider.keystone.calls.clear()
            provider.keystone.absent.clear()
        return Answer(HTTPStatus.NO_CONTENT).response()

    async def revoke(self, _request: web.Request) -> web.Response:
        """Revoke all tokens of all providers."""
        for provider in self._providers.values():
            provider.keystone.revoke_all()
        return Answer(HTTPStatus.NO_CONTENT).response()

    async def show(self, request: web.Request) -> web.Response:
        """Tell how a region behaves."""
        return Answer(HTTPStatus.OK, asdict(self._region(request).conduct)).response()

    async def change(self, request: web.Request) -> web.Response:
        """Change how a region behaves; what is not named stays."""
        region = self._region(request)
        try:
            region.conduct = changed(region.conduct, parsed(await request.read()))
        except Fault as fault:
            return refused(fault).response()
        return Answer(HTTPStatus.OK, asdict(region.conduct)).response()

    async def change_offered(self, request: web.Request) -> web.Response:
        """Have a region offer something else, and services be absent or broken.

        The body: `{"flavors": {"m1.tiny": {"disk_gb": 0}}, "absent": ["network"], "broken": []}`.
        """
        region, asked = self._region(request), parsed(await request.read()) or {}
        keystone = self._providers[region.provider].keystone
        try:
            for kind in KINDS:
                for name, more in asked.get(kind, {}).items():
                    region.offered.change(kind, name, more)
        except (KeyError, TypeError) as error:
            raise web.HTTPBadRequest(text=f"there is nothing like that: {error}") from None
        if "absent" in asked:
            keystone.absent = {it for it in keystone.absent if it[1] != region.name}
            keystone.absent |= {(kind, region.name) for kind in asked["absent"]}
        region.broken = frozenset(asked.get("broken", region.broken))
        return Answer(HTTPStatus.NO_CONTENT).response()

    async def make_foreign(self, request: web.Request) -> web.Response:
        """Make servers that no client asked for, within the quota: one, or a list of them."""
        region = self._region(request)
        try:
            asked = parsed(await request.read())
            several = asked if isinstance(asked, list) else [asked or {}]
            made = [_view(region, region.make(_foreign(region, it))) for it in several]
        except Fault as fault:
            return refused(fault).response()
        return Answer(HTTPStatus.CREATED, made if isinstance(asked, list) else made[0]).response()

    async def change_servers(self, request: web.Request) -> web.Response:
        """Have servers be built, or be gone, at once; what is there no more is left out."""
        region = self._region(request)
        asked = parsed(await request.read()) or {}
        for name, act in (("built", region.built), ("gone", region.gone)):
            for server_id in asked.get(name, ()):
                if server := region.servers.get(server_id):
                    act(server)
        return Answer(HTTPStatus.NO_CONTENT).response()


def changed(conduct: Conduct, asked: object) -> Conduct:
    """Return a conduct with some of it changed.

    Raises:
        Fault: a name is unknown, or a value impossible.
    """
    if not isinstance(asked, dict):
        raise Fault(HTTPStatus.BAD_REQUEST, "expected an object")
    known = {it.name for it in fields(Conduct)}
    for name, value in asked.items():
        if name not in known:
            raise Fault(HTTPStatus.BAD_REQUEST, f"no {name!r}: there are {sorted(known)}")
        if not _is_possible(name, value):
            raise Fault(HTTPStatus.BAD_REQUEST, f"{name} cannot be {value!r}")
    return replace(conduct, **asked)


def _is_possible(name: str, value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if name in QUOTAS:
        return isinstance(value, int) and value >= -1
    if name == "newest_minor":
        return isinstance(value, int) and 1 <= value <= NEWEST_MINOR
    if name in SWITCHES:
        return value in (0, 1)
    return 0 <= value <= (1 if name in SHARES else LONGEST)


def _foreign(region: Region, asked: Mapping[str, Any]) -> Order:
    offered = region.offered
    name = asked.get("flavor", "m1.tiny")
    flavor = next((it for it in offered.flavors.values() if it.name == name), None)
    if flavor is None:
        raise Fault(HTTPStatus.BAD_REQUEST, f"no flavor {name!r}")
    return Order(
        name=asked.get("name", "foreign"),
        flavor=flavor,
        image=next(iter(offered.images.values())),
        network=offered.usual_network,
        metadata=asked.get("metadata", {}),
    )


def _stats(region: Region) -> dict[str, Any]:
    return {
        "posts": region.calls["POST /servers"],
        "accepted": region.accepted,
        "refused_quota": region.refused,
        "highest": region.highest,
        "servers": len(region.servers),
        "keypairs": len(region.keypairs),
        "calls": region.calls,
    }


def _view(region: Region, server: Server) -> dict[str, Any]:
    return {
        "region": region.label,
        "id": server.id,
        "name": server.order.name,
        "metadata": server.metadata,
        "status": server.status,
        "task_state": server.task_state,
        "key_name": server.order.key_name,
        "flavor": server.order.flavor.name,
        "made_at": server.made_at,
        "gone_at": server.gone_at,
    }
