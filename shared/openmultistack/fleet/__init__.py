"""The fleet as configured, and what a request means in each of its regions."""

from openmultistack.fleet.config import Fleet, OwnerRule, Region, load_fleet
from openmultistack.fleet.offers import Offers, nearest, offers, regions_matching

__all__ = [
    "Fleet",
    "Offers",
    "OwnerRule",
    "Region",
    "load_fleet",
    "nearest",
    "offers",
    "regions_matching",
]
