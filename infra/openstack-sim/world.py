"""All providers and regions, and where each service of theirs is served."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from textwrap import dedent

import glance
import keypairs
import neutron
import nova
from aiohttp import web
from calls import Check, Route, bound
from keystone import PASSWORD, PROJECT, USER, Keystone
from region import Conduct, Region

FEW = ("RegionOne", "RegionTwo", "RegionThree", "RegionFour")
# type in the catalog -> path of its URL, routes without a token, routes with one
SERVICES: Mapping[str, tuple[str, list[Route], list[Route]]] = {
    "compute": ("compute/v2.1", nova.OPEN, nova.ROUTES + keypairs.ROUTES),
    "image": ("image", glance.OPEN, glance.ROUTES),
    "network": ("network", neutron.OPEN, neutron.ROUTES),
}


@dataclass(frozen=True)
class Provider:
    """A provider: a login, and regions behind it."""

    name: str
    keystone: Keystone
    regions: Mapping[str, Region]


def region_names(count: int) -> list[str]:
    """Return RegionOne and on; R01 and on where there are many."""
    if count <= len(FEW):
        return list(FEW[:count])
    return [f"R{it:02}" for it in range(1, count + 1)]


def build(
    base: str, providers: int, regions: int, conduct: Conduct, *, seed: int
) -> dict[str, Provider]:
    """Return all providers, by name."""
    names = [f"p{it}" for it in range(1, providers + 1)]
    return {it: _provider(base, it, regions, conduct, seed) for it in names}


def _provider(base: str, name: str, regions: int, conduct: Conduct, seed: int) -> Provider:
    names = region_names(regions)
    identity = f"{base}/{name}/identity/v3"
    catalog = [("identity", region, identity) for region in names]
    catalog += [
        (kind, region, f"{base}/{name}/{region}/{path}")
        for region in names
        for kind, (path, *_) in SERVICES.items()
    ]
    return Provider(
        name,
        Keystone(identity, catalog, conduct.latency_ms),
        {it: Region(name, it, conduct, seed=seed) for it in names},
    )


def routes(base: str, provider: Provider) -> Iterator[web.RouteDef]:
    """Give all that a provider serves.

    Each region's routes begin with its own fixed words, by which the router finds them at once.
    """
    identity = f"/{provider.name}/identity/v3"
    keystone = provider.keystone
    yield web.get(identity, keystone.version)
    yield web.get(identity + "/", keystone.version)
    yield web.post(f"{identity}/auth/tokens", keystone.login)
    for region in provider.regions.values():
        for path, open_routes, token_routes in SERVICES.values():
            place = f"/{region.label}/{path}"
            yield from _bound(base, place, region, open_routes, _anyone)
            yield from _bound(base, place, region, token_routes, keystone.check)


def _bound(
    base: str, place: str, region: Region, served: list[Route], check: Check
) -> Iterator[web.RouteDef]:
    for method, path, handler in served:
        kind = f"{method} {path or '/'}"
        serve = bound(region, base + place, handler, check, kind)
        yield web.route(method, place + path, serve)


def _anyone(_request: web.Request) -> None:
    return


def clouds_yaml(providers: Mapping[str, Provider]) -> str:
    """Return the file by which openstacksdk finds it all."""
    return "clouds:\n" + "".join(_entry(it) for it in providers.values())


def _entry(provider: Provider) -> str:
    return dedent(f"""\
        #
          {provider.name}:
            auth:
              auth_url: {provider.keystone.url}
              username: {USER}
              password: {PASSWORD}
              project_name: {PROJECT}
              user_domain_name: Default
              project_domain_name: Default
            regions: [{", ".join(provider.regions)}]
            interface: public
            identity_api_version: "3"
        """).removeprefix("#\n")
