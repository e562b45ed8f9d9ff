"""The fleet as configured, and what a request means in each of its regions."""

from openmultistack.fleet.config import (
    Fleet,
    FleetFile,
    OwnerRule,
    Region,
    load_fleet,
    load_fleet_file,
)
from openmultistack.fleet.offers import (
    CannotServe,
    Offers,
    nearest,
    offer_of,
    offers,
    regions_matching,
)

__all__ = [
    "CannotServe",
    "Fleet",
    "FleetFile",
    "Offers",
    "OwnerRule",
    "Region",
    "load_fleet",
    "load_fleet_file",
    "nearest",
    "offer_of",
    "offers",
    "regions_matching",
]
