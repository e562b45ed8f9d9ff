"""Clouds: the port, its adapter over openstacksdk, and a fake of it in memory."""

from openmultistack.clouds.late import LateClouds
from openmultistack.clouds.marks import keypair_attempt, keypair_name
from openmultistack.clouds.port import Cloud, Clouds, Marks, Server, ServerOrder, Survey

__all__ = [
    "Cloud",
    "Clouds",
    "LateClouds",
    "Marks",
    "Server",
    "ServerOrder",
    "Survey",
    "keypair_attempt",
    "keypair_name",
]
