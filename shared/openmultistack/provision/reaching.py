"""Reaching the cloud that an instance's server is in: the name alone may lead elsewhere by now."""

from openmultistack.clouds import Cloud, Clouds
from openmultistack.domain.cloud_errors import PlaceMoved
from openmultistack.ledger import Ledger


def reach(ledger: Ledger, clouds: Clouds, region: str, place: str = "") -> Cloud:
    """Return a region's cloud, if it is the one that the ledger means by the name.

    It is not while files change: what another cloud does not have is not gone. `place`: the one
    that is meant, where that is known from before; the name may stand for another by now.

    Raises:
        NotConfigured: no entry of clouds.yaml leads there.
        PlaceMoved: the entry leads to another cloud or project.
        CloudError: it is not to be told, as the login does not work.
    """
    cloud, place = clouds.region(region), place or ledger.place_of(region)
    if place not in (region, cloud.place().id):
        raise PlaceMoved(f"{region} leads to another project or cloud than before")
    return cloud
