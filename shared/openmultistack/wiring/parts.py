"""What a function is made of, once a process: files, the ledger, the fleet and its clouds.

Nothing is read or opened before it is asked for.
"""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from openmultistack.domain.errors import ConfigurationError
from openmultistack.domain.pace import PACE
from openmultistack.wiring.lean_imports import lean_imports
from openmultistack.wiring.made_once import Kept, made_once
from openmultistack.wiring.use_cases import Ground, UseCases

if TYPE_CHECKING:  # each function imports what it needs, when it needs it: a cold start is short
    from collections.abc import Mapping

    from openmultistack.auth.believed import Believed
    from openmultistack.auth.callers import Callers
    from openmultistack.auth.issuers import Issuer
    from openmultistack.clouds import Clouds
    from openmultistack.clouds.keyring import Keyring, KeyringFile
    from openmultistack.fleet.config import Fleet, FleetFile
    from openmultistack.fleet.files import CloudsFile, Regions
    from openmultistack.fleet.source import RegionSource, RulesFile
    from openmultistack.ledger import Address, Ledger
    from openmultistack.wiring.settings import Settings


class Parts(Kept):
    """The parts of one process, made from its settings."""

    def __init__(self, settings: "Settings") -> None:
        super().__init__()
        self.settings = settings
        self.use = UseCases(
            Ground(
                name=settings.fleet,
                ledger=self.ledger,
                fleet=self.fleet,
                clouds=self.clouds,
                lease_ms=settings.lease_s * 1000,
                threads=settings.threads,
                pace=PACE.within(settings.granted_s),
                certain=lambda: self.region_source().certain(),
            )
        )

    # ------------------------------------------------------------ who calls

    @made_once
    def believed(self) -> "Believed":
        """Return who is believed, their keys read; without a file: nobody."""
        from openmultistack.auth.believed import Believed

        return Believed(self.settings.issuers_file)

    def issuers(self) -> "Mapping[str, Issuer]":
        """Return the issuers believed now."""
        return self.believed().now()

    @made_once
    def callers(self) -> "Callers":
        """Return who names callers; nothing is opened before the first token."""
        from openmultistack.auth.callers import Callers
        from openmultistack.auth.register import Register

        return Callers(self.issuers, Register(self.ledger).use)

    # ------------------------------------------------------------ the ledger

    @made_once
    def redis_address(self) -> "Address":
        """Return where Redis is."""
        from openmultistack.ledger import read_address

        return read_address(self.settings.redis_url)

    @made_once
    def ledger(self) -> "Ledger":
        """Return the ledger."""
        from openmultistack.ledger import Ledger, connect

        client = connect(self.redis_address())
        return Ledger(client, self.settings.fleet, lease_ms=self.settings.lease_s * 1000)

    # ------------------------------------------------------------ regions, fleet, clouds

    @made_once
    def rules_file(self) -> "RulesFile":
        """Return what reads fleet.yaml alone, again when it changes."""
        from openmultistack.fleet.source import RulesFile

        return RulesFile(self.settings.fleet_file)

    def fleet_file(self) -> "FleetFile":
        """Return what the operator says of the fleet now; it holds no secrets."""
        return self.rules_file().now()

    @made_once
    def region_source(self) -> "RegionSource":
        """Return where the fleet's regions come from."""
        from openmultistack.fleet.source import FleetFiles

        return FleetFiles(self.clouds_file(), self.settings.fleet_file)

    def fleet(self) -> "Fleet":
        """Return the fleet of now."""
        return self.region_source().now()

    @made_once
    def regions_file(self) -> "CloudsFile":
        """Return what reads the regions of clouds.yaml, again when it changes."""
        from openmultistack.fleet.files import CloudsFile

        return CloudsFile(self.clouds_file())

    def regions(self) -> "Regions":
        """Return all regions of clouds.yaml now: by name, provider and region."""
        return self.regions_file().now()

    @made_once
    def clouds(self) -> "Clouds":
        """Return the regions' clouds; openstacksdk is imported when the first one is called."""
        from openmultistack.clouds import LateClouds

        return LateClouds(self.regions_file(), self._open_clouds)

    def _open_clouds(self, regions: "Regions") -> "Clouds":
        with lean_imports():
            from openmultistack.clouds.openstack.clouds import OpenStackClouds

        # The sdk logs addresses and its own retries; what failed is in our own line.
        for name in ("openstack", "keystoneauth"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        return OpenStackClouds(
            self.clouds_file(),
            regions,
            fleet=self.settings.fleet,
            keys=self.keyring,
            shelf=self.ledger(),
        )

    def clouds_file(self) -> Path:
        """Return where clouds.yaml is.

        Raises:
            ConfigurationError: this function was not given one.
        """
        path = self.settings.clouds_file
        if path is None:
            raise ConfigurationError("environment", "OS_CLIENT_CONFIG_FILE", "expected a path")
        return path

    # ------------------------------------------------------------ keys of marks

    @made_once
    def keyring_file(self) -> "KeyringFile":
        """Return the keys that servers' marks are signed with.

        Raises:
            ConfigurationError: this function was not given any, or they are not as they must be.
        """
        from openmultistack.clouds.keyring import NO_KEYS, KeyringFile

        path = self.settings.marks_keys_file
        if path is None:
            raise ConfigurationError("environment", "OMS_MARKS_KEYS_FILE", NO_KEYS)
        return KeyringFile(path)

    def keyring(self) -> "Keyring":
        """Return the keys of now."""
        return self.keyring_file().now()
