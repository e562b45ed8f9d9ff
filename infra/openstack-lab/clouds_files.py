"""Writes clouds.yaml, what a user of the providers has, and clouds-admin.yaml."""

from layout import Lab, replace_text
from topology import KEYSTONE_PORT_OFFSETS, PASSWORD, regions_of

ENTRY = """\
  {name}:
    auth:
      auth_url: {auth_url}
      username: {user}
      password: {password}
      project_name: {user}
      user_domain_name: Default
      project_domain_name: Default
    regions: [{regions}]
    interface: public
    identity_api_version: "3"
"""


def write(lab: Lab) -> None:
    """Write both files."""
    replace_text(lab.clouds_yaml, clouds(lab, "ci", suffix=""))
    replace_text(lab.clouds_admin_yaml, clouds(lab, "admin", suffix="-admin"))


def clouds(lab: Lab, user: str, suffix: str) -> str:
    """The text of a file with one user's entry for each provider."""
    entries = [
        ENTRY.format(
            name=provider + suffix,
            auth_url=lab.keystone_url(provider),
            user=user,
            password=PASSWORD,
            regions=", ".join(region.name for region in regions_of(provider)),
        )
        for provider in KEYSTONE_PORT_OFFSETS
    ]
    return "clouds:\n" + "".join(entries)
