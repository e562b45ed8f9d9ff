"""The API's endpoints: what each reads from a call, which use case it runs, what it answers."""

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from openmultistack.api.door import PREFIX, Call, Endpoint, Reply, parse
from openmultistack.api.token_endpoints import list_tokens, revoke_token
from openmultistack.domain.errors import Invalid, Malformed
from openmultistack.domain.models import Instance, Resources, Status, rfc3339
from openmultistack.domain.regions import RegionState
from openmultistack.usecases.read import list_instances, owned, place_in_queue, story
from openmultistack.usecases.renew import renew

if TYPE_CHECKING:  # a function has only its own use case
    from openmultistack.fleet.config import FleetFile
    from openmultistack.ledger import Ledger
    from openmultistack.usecases.create import Creating
    from openmultistack.usecases.destroy import Destroying
    from openmultistack.usecases.drain import Draining
    from openmultistack.usecases.reap import Reaping
    from openmultistack.usecases.vouch import Vouching

PAGE_MAX = 1000
PAGE_DEFAULT = 100
KEY_CHARS = 255


def create_endpoints(creating: "Callable[[], Creating]") -> list[Endpoint]:
    """`POST /instances`."""
    from openmultistack.domain.commands import CreateInstances

    def create(call: Call) -> Reply:
        command = parse(CreateInstances, call.body)
        key = _idempotency_key(call)
        placed = creating().create(call.caller, command, key=key, wait_s=_wait_s(call))
        shown = [it.document() for it in placed.instances]
        queued = sum(it.status == Status.QUEUED for it in placed.instances)
        document = {
            "instances": shown,
            "requested": placed.requested,
            "placed": len(shown) - queued,
            "queued": queued,
        }
        location = f"{PREFIX}/instances"
        if len(shown) == 1:
            location += f"/{placed.instances[0].id}"
        told = {
            "requested": placed.requested,
            "queued": queued,
            "instances": [_placed(it) for it in placed.instances],
            "regions": placed.said,
        }
        return Reply(202, document, {"Location": location}, told)

    return [Endpoint("POST", "/instances", "instances:create", create)]


def _placed(it: Instance) -> dict[str, object]:
    """Return what the log has of an instance."""
    return {"id": it.id, "region": it.region, "attempt": it.attempt, "server": it.server_id}


def destroy_endpoints(
    destroying: "Callable[[], Destroying]", ledger: "Callable[[], Ledger]"
) -> list[Endpoint]:
    """`DELETE /instances/{id}`, `DELETE /instances?label=k:v`, `DELETE /tokens/{id}`."""

    def one(call: Call) -> Reply:
        destroyed = destroying().destroy_ids(call.caller.owner, [call.path["id"]])
        return Reply(202, _shown(destroyed))

    def labelled(call: Call) -> Reply:
        labels = _query(call, ("label",)).labels
        if not labels:
            raise Invalid([("", "expected an id in the path or at least one ?label=key:value")])
        return Reply(202, _shown(destroying().destroy_labelled(call.caller.owner, labels)))

    return [
        Endpoint("DELETE", "/instances/{id}", "instances:destroy", one),
        Endpoint("DELETE", "/instances", "instances:destroy", labelled),
        revoke_token(ledger),
    ]


def renew_endpoints(
    ledger: "Callable[[], Ledger]", fleet: "Callable[[], FleetFile]"
) -> list[Endpoint]:
    """`PATCH /instances/{id}`."""
    from openmultistack.domain.commands import RenewInstance

    def run(call: Call) -> Reply:
        command = parse(RenewInstance, call.body)
        owner = call.caller.owner
        return Reply(200, renew(ledger(), fleet(), owner, call.path["id"], command.ttl).document())

    return [Endpoint("PATCH", "/instances/{id}", "instances:create", run)]


def reap_endpoints(
    reaping: "Callable[[], Reaping]",
    draining: "Callable[[], Draining]",
    vouching: "Callable[[], Vouching]",
) -> list[Endpoint]:
    """`POST /reap`, and what else is the operators'."""
    from openmultistack.domain.commands import (
        AdoptUnverified,
        DestroyCopies,
        DrainRegions,
        ForgetRegions,
        OpenRegions,
        Reap,
    )

    def reap(call: Call) -> Reply:
        reaped = reaping().reap(now=parse(Reap, call.body or b"{}").now)
        return Reply(200, reaped, told=_done(reaped))

    def drain(call: Call) -> Reply:
        command = parse(DrainRegions, call.body)
        return _regions(draining().drain(command.regions, command.why))

    def open_(call: Call) -> Reply:
        return _regions(draining().open(parse(OpenRegions, call.body).regions))

    def forget(call: Call) -> Reply:
        return _regions(draining().forget(parse(ForgetRegions, call.body).regions))

    def adopt(call: Call) -> Reply:
        return Reply(200, {"regions": vouching().adopt(parse(AdoptUnverified, call.body).regions)})

    def end(call: Call) -> Reply:
        return Reply(200, {"copies": vouching().end(parse(DestroyCopies, call.body).servers)})

    return [
        Endpoint("POST", "/reap", "fleet:reap", reap),
        Endpoint("POST", "/regions/adopt", "fleet:reap", adopt),
        Endpoint("POST", "/copies/destroy", "fleet:reap", end),
        Endpoint("POST", "/regions/drain", "fleet:drain", drain),
        Endpoint("POST", "/regions/open", "fleet:drain", open_),
        Endpoint("POST", "/regions/forget", "fleet:drain", forget),
    ]


def _done(reaped: Mapping[str, Any]) -> dict[str, object]:
    """Return what the log has of a run of the reaper: what it did, and which regions failed."""
    actions = Counter[str]()
    for it in reaped["regions"]:
        actions.update({name: count for name, count in it["actions"].items() if count})
    failed = {it["region"]: it["error"] for it in reaped["regions"] if it["error"]}
    ended = {name: reaped[name] for name in ("expired", "forgotten")}
    return {**ended, "actions": actions, "regions": failed}


def list_endpoints(ledger: "Callable[[], Ledger]") -> list[Endpoint]:
    """Everything that only reads the ledger."""

    def page(call: Call) -> Reply:
        asked = _query(call, ("label", "status", "region", "limit", "cursor"))
        found = list_instances(
            ledger(),
            call.caller.owner,
            labels=asked.labels,
            status=asked.status,
            region=asked.single.get("region"),
            after=asked.single.get("cursor"),
            limit=asked.limit,
        )
        return Reply(200, _shown(found.instances) | {"next": found.next})

    def one(call: Call) -> Reply:
        (instance,) = owned(ledger(), call.caller.owner, [call.path["id"]])
        place = place_in_queue(ledger(), instance)
        return Reply(200, instance.document() | ({"queue": place._asdict()} if place else {}))

    def events(call: Call) -> Reply:
        return Reply(200, {"events": story(ledger(), call.caller.owner, call.path["id"])})

    def regions(_: Call) -> Reply:
        return _regions(ledger().regions())

    def healthz(_: Call) -> Reply:
        ledger().now_ms()
        return Reply(200, {"status": "ok"})

    def metrics(_: Call) -> Reply:
        return Reply(200, _metrics(ledger().regions(), ledger().queue_length()))

    return [
        Endpoint("GET", "/instances", "instances:read", page),
        Endpoint("GET", "/instances/{id}", "instances:read", one),
        Endpoint("GET", "/instances/{id}/events", "instances:read", events),
        Endpoint("GET", "/regions", "fleet:read", regions),
        list_tokens(ledger),
        Endpoint("GET", "/healthz", None, healthz),
        Endpoint("GET", "/metrics", None, metrics),
        Endpoint("GET", "/openapi.json", None, _description),
    ]


def _description(_: Call) -> Reply:
    from openmultistack.api import openapi

    return Reply(200, openapi.document())


class _Asked:
    """A query string, checked."""

    def __init__(self, single: Mapping[str, str], labels: Mapping[str, str]) -> None:
        self.single = single
        self.labels = labels

    @property
    def limit(self) -> int:
        text = self.single.get("limit", str(PAGE_DEFAULT))
        if not re.fullmatch(r"[0-9]{1,6}", text) or not 1 <= int(text) <= PAGE_MAX:
            raise Invalid([("/limit", f"expected a number from 1 to {PAGE_MAX}")])
        return int(text)

    @property
    def status(self) -> Status | None:
        text = self.single.get("status")
        if text is not None and text not in list(Status):
            raise Invalid([("/status", f"expected one of {', '.join(Status)}")])
        return Status(text) if text else None


def _query(call: Call, allowed: Sequence[str]) -> _Asked:
    labels: dict[str, str] = {}
    single: dict[str, str] = {}
    for name, value in call.query:
        if name not in allowed:
            expected = ", ".join(allowed)
            raise Invalid([("/" + name[:64], f"is no parameter here, expected some of {expected}")])
        if name != "label":
            single[name] = value
            continue
        key, colon, text = value.partition(":")
        if not key or not colon:
            raise Invalid([("/label", "expected key:value")])
        if labels.setdefault(key, text) != text:
            raise Invalid([("/label", f"{key} is asked for with two values")])
    return _Asked(single, labels)


def _wait_s(call: Call) -> int:
    """Return the seconds of `Prefer: wait=N` (RFC 7240); other preferences are ignored."""
    found = re.search(r"(?:^|[,;\s])wait=([0-9]{1,6})\b", call.headers.get("Prefer", ""))
    return int(found[1]) if found else 0


def _idempotency_key(call: Call) -> str:
    """Return the Idempotency-Key header (of the IETF's draft of that name), '' if there is none."""
    named = {name.lower(): value.strip() for name, value in call.headers.items()}
    key = named.get("idempotency-key")
    if key is None:
        return ""
    if not 0 < len(key) <= KEY_CHARS or not key.isprintable():
        raise Malformed(f"Idempotency-Key: expected 1 to {KEY_CHARS} printable characters")
    return key


def _shown(instances: Sequence[Instance]) -> dict[str, Any]:
    return {"instances": [it.document() for it in instances]}


def _regions(states: Sequence[RegionState]) -> Reply:
    return Reply(200, {"regions": [_region(it) for it in states]})


def _region(state: RegionState) -> dict[str, Any]:
    free = state.free()
    resources = {
        what: {
            kind: getattr(counts, what)
            for kind, counts in (
                ("cap", state.cap),
                ("held", state.held),
                ("foreign", state.foreign),
                ("free", free),
            )
        }
        for what in Resources._fields
    }
    return {
        "region": state.region,
        "provider": state.provider,
        "state": state.state,
        **resources["instances"],
        "resources": resources,
        "building": state.building,
        "max_building": state.max_building,
        "drained": state.drained,
        "resting_s": math.ceil(state.resting_ms / 1000),
        "last_error": state.last_error,
        "last_error_at": _at(state.last_error_at_ms),
        "swept_at": _at(state.swept_at_ms),
        "strangers": dict(state.strangers),
    }


def _at(at_ms: int | None) -> str | None:
    return None if at_ms is None else rfc3339(at_ms)


def _metrics(states: Sequence[RegionState], waiting: int) -> str:
    """Return the regions' counts in Prometheus' text format."""
    lines = ["# HELP oms_queue_length Instances that wait.", "# TYPE oms_queue_length gauge"]
    lines += [f"oms_queue_length {waiting}"]
    lines += ["# HELP oms_region_up 1 if the region takes instances.", "# TYPE oms_region_up gauge"]
    lines += [f'oms_region_up{{region="{it.region}"}} {int(it.state == "up")}' for it in states]
    lines += [
        "# HELP oms_region_resources What a quota counts.",
        "# TYPE oms_region_resources gauge",
    ]
    for state in states:
        for what, counts in _region(state)["resources"].items():
            lines += [
                f'oms_region_resources{{region="{state.region}",resource="{what}",kind="{kind}"}}'
                f" {count}"
                for kind, count in counts.items()
            ]
    return "\n".join(lines) + "\n"
