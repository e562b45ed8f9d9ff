"""Entries of clouds.yaml as openstacksdk reads them, and the way to log in where none is named."""

from typing import Any

from openstack.config import OpenStackConfig

from openmultistack.fleet.files import has_application_credential

PASSWORD, APPLICATION_CREDENTIAL = "password", "v3applicationcredential"


class Entries(OpenStackConfig):
    """The sdk's configuration; an application credential need not say that it is one.

    The sdk takes what names no `auth_type` for a password. Here that is decided when the file,
    secure.yaml, the profile and the region's own values are one: whichever names a type is heard.
    """

    def __init__(self, **given: Any) -> None:  # noqa: ANN401  the sdk's own
        super().__init__(**given)
        self.defaults.pop("auth_type", None)

    def auth_config_hook(self, config: dict[str, Any]) -> dict[str, Any]:
        """Name the way to log in where nobody has."""
        config = super().auth_config_hook(config)
        if config.get("auth_type") is None:
            inferred = has_application_credential(config.get("auth") or {})
            config["auth_type"] = APPLICATION_CREDENTIAL if inferred else PASSWORD
        return config
