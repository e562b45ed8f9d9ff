"""All regions of a clouds.yaml, each over one connection of openstacksdk's."""

import json
import threading
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from openmultistack.clouds.keyring import Keys, no_keys
from openmultistack.clouds.openstack import connections
from openmultistack.clouds.openstack.cloud import OpenStackCloud
from openmultistack.clouds.openstack.connections import Hosts, ImpatientAdapter
from openmultistack.clouds.openstack.entries import Entries
from openmultistack.clouds.openstack.logins import Login, SharingSession
from openmultistack.clouds.openstack.profiles import Profiles, remote_profile, settle
from openmultistack.clouds.openstack.sealing import SealedShelf
from openmultistack.clouds.openstack.services import Services
from openmultistack.clouds.port import Cloud, Shelf
from openmultistack.domain.cloud_errors import NotConfigured


class OpenStackClouds:
    """All regions of clouds.yaml; a connection is made at a region's first use, and kept.

    With a shelf, logins and what endpoints offer are shared with all who have the same one.
    """

    def __init__(
        self,
        clouds_file: Path,
        regions: Mapping[str, tuple[str, str]],
        *,
        fleet: str,
        keys: Keys = no_keys,
        shelf: Shelf | None = None,
    ) -> None:
        self._file = clouds_file
        self._keys = keys
        self._regions = regions
        self._fleet = fleet
        self._shelf = shelf
        self._clouds: dict[str, OpenStackCloud] = {}
        # By all that tells one way to log in from another; in this process only.
        self._logins: dict[str, Login] = {}
        self._hosts = Hosts()
        self._profiles = Profiles(self._hosts)
        self._lock = threading.Lock()

    def names(self) -> Sequence[str]:
        """Return the regions there are."""
        return list(self._regions)

    def region(self, name: str) -> Cloud:
        """Return a region's cloud; opens nothing yet."""
        if name not in self._regions:
            raise NotConfigured(name)
        with self._lock:
            if name not in self._clouds:
                provider, region = self._regions[name]
                self._clouds[name] = OpenStackCloud(
                    lambda: self._connect(provider, region), fleet=self._fleet, keys=self._keys
                )
            return self._clouds[name]

    def close(self) -> None:
        """Give up the connections that nothing goes over now; what is under way goes on.

        What holds them is let go too: they hold one another, and the collector may not look there.
        """
        with self._lock:
            opened = list(self._clouds.values())
            self._clouds.clear()
        for it in opened:
            it.close()

    @cached_property
    def _config(self) -> Any:  # noqa: ANN401  the sdk is untyped
        return Entries(
            config_files=[str(self._file)],
            secure_files=[str(self._file.with_name("secure.yaml"))],
            load_envvars=False,
            app_name="openmultistack",
            session_constructor=SharingSession,
        )

    def _settle_profile(self, provider: str) -> None:
        """Have a provider's profile at hand, as it may take long to fetch: nobody else waits."""
        with self._lock:
            address = remote_profile(self._config, provider)
        if address:
            told = self._profiles.told(address)
            with self._lock:
                settle(address, told)

    def _connect(self, provider: str, region: str) -> tuple[Services, Login]:
        self._settle_profile(provider)
        with self._lock:
            timeout_s = connections.READ_TIMEOUT_S
            config = self._config.get_one(provider, region_name=region, api_timeout=timeout_s)
            way = {"type": config.config.get("auth_type"), "auth": config.get_auth_args()}
            known_by = json.dumps(way, sort_keys=True, default=str)
            if known_by not in self._logins:
                self._logins[known_by] = Login(SealedShelf(self._shelf, self._fleet, way))
        services, login = Services(config), self._logins[known_by]
        session = cast("SharingSession", services.session)
        session.login = login
        for scheme in ("http://", "https://"):
            session.session.mount(scheme, ImpatientAdapter(self._hosts))
        session.discoveries.shelf = login.shelf
        return services, login
