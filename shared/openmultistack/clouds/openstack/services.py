"""A region's Nova, Glance and Neutron, as openstacksdk's configuration has them.

The sdk's Connection would have them as well. It imports all fifty services, and puts statistics, a
cache and objects of its own around each call; here they are keystoneauth's plain adapters.
"""

import threading
from typing import Any

from keystoneauth1.adapter import Adapter
from keystoneauth1.session import Session

# Of each service its major version, if clouds.yaml names none.
VERSION = "2"
# What the sdk hands to its own adapters only.
_STATISTICS = {
    "statsd_prefix", "statsd_client", "prometheus_counter", "prometheus_histogram",
    "influxdb_config", "influxdb_client",
}  # fmt: skip


class Services:
    """The services of one region over one session; each is looked up when it is first used.

    A look can take long. It is this region's alone: until Python 3.12 a `cached_property` of one
    object makes those of all others wait.
    """

    def __init__(self, config: Any) -> None:  # noqa: ANN401  the sdk is untyped
        self._config = config
        self._found: dict[str, Adapter] = {}
        self._finding = threading.Lock()
        self.session: Session = config.get_session()

    @property
    def region_name(self) -> str:
        """The region's name at its cloud; '' if clouds.yaml names none."""
        return str(self._config.region_name or "")

    @property
    def compute(self) -> Adapter:
        """Nova."""
        return self._service("compute")

    @property
    def image(self) -> Adapter:
        """Glance."""
        return self._service("image")

    @property
    def network(self) -> Adapter:
        """Neutron."""
        return self._service("network")

    def has(self, kind: str) -> bool:
        """Whether clouds.yaml lets a service be there: `has_network: false` says that it is not."""
        return bool(self._config.has_service(kind))

    def _service(self, kind: str) -> Adapter:
        if kind not in self._found:
            with self._finding:
                if kind not in self._found:
                    self._found[kind] = self._look_up(kind)
        return self._found[kind]

    def _look_up(self, kind: str) -> Adapter:
        found: Adapter = self._config.get_session_client(
            kind,
            version=self._config.get_api_version(kind) or VERSION,
            constructor=_adapter,
            allow_version_hack=True,
        )
        if self._config.get_endpoint(kind):
            # What the operator wrote may be short of the version.
            known = found.get_endpoint_data()
            found.endpoint_override = (known and known.url) or found.endpoint_override
        return found


def _adapter(session: Session, **given: Any) -> Adapter:  # noqa: ANN401  keystoneauth's own
    """Return an adapter that gives error answers back, as the sdk's do."""
    plain = {name: it for name, it in given.items() if name not in _STATISTICS}
    return Adapter(session, raise_exc=False, **plain)
