"""What a session with a region is: connected, logged in, its Nova located, its failures told."""

import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from keystoneauth1.access import AccessInfo
from keystoneauth1.exceptions import EndpointNotFound
from openstack import utils

from openmultistack.clouds.keyring import Keyring, Keys
from openmultistack.clouds.openstack.asking import bare_endpoint
from openmultistack.clouds.openstack.failures import translate
from openmultistack.clouds.openstack.logins import Login
from openmultistack.clouds.openstack.microversions import MICROVERSION, supports
from openmultistack.clouds.openstack.services import Services
from openmultistack.clouds.signing import Signing
from openmultistack.domain.cloud_errors import (
    AccountBroken,
    BadAnswer,
    InDoubt,
    NoSuchRegion,
    Unreachable,
)
from openmultistack.domain.regions import Place
from openmultistack.logs import ANSWERED, answered

Connect = Callable[[], tuple[Services, Login]]


class Session(NamedTuple):
    """A region's services while they are used: logged in, with Nova located."""

    services: Services
    # What its Nova speaks, up to ours; None: it did not say.
    version: str | None
    fleet: str
    keys: Keys

    @property
    def nova(self) -> Any:  # noqa: ANN401  untyped
        """The compute service."""
        return self.services.compute

    def supports(self, since: tuple[int, ...]) -> bool:
        """Whether its Nova has what came with a microversion."""
        return supports(self.version, since)

    def place(self) -> Place:
        """Return what the region is by itself: where its Nova is, and for which project."""
        project = self.services.session.get_project_id()
        if not project:
            raise AccountBroken("its login is to no project: name one in clouds.yaml")
        nova = self.nova
        endpoint = bare_endpoint(nova.endpoint_override or nova.get_endpoint() or "", project)
        return Place(endpoint, project, nova.region_name or "")

    def signing(self, keyring: Keyring | None = None) -> Signing:
        """Return what marks are signed with here; with the keys of now, if none are given."""
        return Signing(keyring or self.keys(), self.fleet, self.place().id)


class Sessions:
    """The sessions of one region, over a connection that is made for the first one and kept.

    Safe to share between threads.
    """

    def __init__(self, connect: Connect, *, fleet: str, keys: Keys) -> None:
        self._connect = connect
        self._fleet = fleet
        self._keys = keys
        self._connecting = threading.Lock()
        self._opened: tuple[Services, Login] | None = None
        # The login by which Nova was located, what clouds.yaml says of that, and what it speaks.
        self._located_by: AccessInfo | None = None
        self._override: str | None = None
        self._version: str | None = None

    def forgive(self) -> None:
        """Have a login that was refused tried at once."""
        try:
            _, login = self._connected()
        except Exception as error:
            raise translate(error, sent=False) from error
        login.pauses.forgive()

    def close(self) -> None:
        """Give up the connections that nothing goes over now; who comes later makes new ones."""
        with self._connecting:
            opened, self._opened, self._located_by = self._opened, None, None
        if opened:
            opened[0].session.session.close()

    @contextmanager
    def opened(self, *, sending: bool = False) -> Iterator[Session]:
        """Give a session; whatever fails comes out as a CloudError.

        With `sending` a failure after the login may have reached the cloud.
        """
        sent = False
        answered("")
        try:
            services, login = self._connected()
            token = login.ready(services.session)
            with _telling_regions(services, token):
                self._locate(services.compute, token)
            sent = sending
            yield Session(services, self._version, self._fleet, self._keys)
        except Exception as error:
            failed = translate(error, sent=sent)
            if isinstance(error, BadAnswer):
                failed = (InDoubt if sent else Unreachable)(str(error))
            failed.cloud_request_id = failed.cloud_request_id or ANSWERED.get()
            raise failed from error

    def _connected(self) -> tuple[Services, Login]:
        with self._connecting:
            self._opened = self._opened or self._connect()
            return self._opened

    def _locate(self, nova: Any, token: AccessInfo | None) -> None:  # noqa: ANN401  untyped
        """Find Nova and what it speaks, once for a login: to look them up takes milliseconds."""
        with self._connecting:
            if token is not None and token is self._located_by:
                return
            if self._located_by is None:
                self._override = nova.endpoint_override
            nova.endpoint_override = self._override
            found = nova.get_endpoint_data()
            self._version = utils.maximum_supported_microversion(nova, MICROVERSION)
            # One that did not say what it speaks may do so the next time.
            if found and self._version:
                nova.endpoint_override = found.url
                if self._located_by is None:
                    # The sdk and this connection stay: the collector need not go through them
                    # again and again, a hundred thousand objects and some hundred a region.
                    gc.freeze()
                self._located_by = token


@contextmanager
def _telling_regions(services: Services, token: AccessInfo | None) -> Iterator[None]:
    """Have a region that is not in the login's catalogue told with those that are.

    Raises:
        NoSuchRegion: the login works, and there is no Nova in a region of this name.
    """
    try:
        yield
    except EndpointNotFound as error:
        if token is None or not token.has_service_catalog():
            raise
        found = token.service_catalog.get_endpoints_data(service_type="compute")
        offered = {it.region_name for some in found.values() for it in some if it.region_name}
        if services.region_name in offered:
            raise
        raise NoSuchRegion(services.region_name, sorted(offered)) from error
