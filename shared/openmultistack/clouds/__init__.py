"""Clouds: the port, its adapter over openstacksdk, and a fake of it in memory."""

from openmultistack.clouds.late import LateClouds
from openmultistack.clouds.port import (
    Attempted,
    Claim,
    Cloud,
    Clouds,
    Keypair,
    Marks,
    Server,
    ServerOrder,
    Survey,
)

__all__ = [
    "Attempted",
    "Claim",
    "Cloud",
    "Clouds",
    "Keypair",
    "LateClouds",
    "Marks",
    "Server",
    "ServerOrder",
    "Survey",
]
