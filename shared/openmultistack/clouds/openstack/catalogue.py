"""What a region offers to servers: flavors, images, networks, security groups."""

from collections.abc import Mapping

from openmultistack.clouds.openstack.asking import listed
from openmultistack.clouds.openstack.documents import flavor_of, image_of, network_of
from openmultistack.clouds.openstack.failures import naming
from openmultistack.clouds.openstack.services import Services
from openmultistack.domain.models import NO_NETWORK, Catalogue, Image, Network


def read_catalogue(services: Services) -> Catalogue:
    """Return what the region offers to servers."""
    flavors = listed(services.compute, "/flavors/detail")
    images = _images(services)
    return Catalogue(
        # Only an administrator is shown those that are disabled.
        flavors=tuple(flavor_of(it) for it in flavors if not it.get("OS-FLV-DISABLED:disabled")),
        images=images,
        networks=_networks(services),
    )


def _images(services: Services) -> tuple[Image, ...]:
    with naming("image"):
        found = listed(services.image, "/images", params={"status": "active"})
        return tuple(map(image_of, found))


def _networks(services: Services) -> tuple[Network, ...]:
    """Return the networks there are; where clouds.yaml says `has_network: false` Nova has its own.

    Those that lead out of the cloud are told as such: see `find_network`.
    """
    if not services.has("network"):
        return (NO_NETWORK,)
    with naming("network"):
        return tuple(map(network_of, listed(services.network, "/networks")))


def read_security_groups(services: Services) -> Mapping[str, str]:
    """Return the names of the project's security groups by their ids.

    Without a network service they are Nova's own: /os-security-groups, gone from 2.36 on.
    """
    if services.has("network"):
        with naming("network"):
            found = list(listed(services.network, "/security-groups"))
    else:
        found = list(listed(services.compute, "/os-security-groups"))
    return {it["id"]: it["name"] for it in found}
