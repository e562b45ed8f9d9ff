"""The endpoint that describes the whole API."""

from collections.abc import Callable

from openmultistack.api.calls import Call, Endpoint, Reply
from openmultistack.api.operations import Json
from openmultistack.auth.guards import public


def describe(document: Callable[[], Json]) -> Endpoint:
    """`GET /openapi.json`."""

    def run(_: Call) -> Reply:
        return Reply(200, document())

    return Endpoint("GET", "/openapi.json", public, run)
