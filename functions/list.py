"""GET: instances, their events, regions, health and metrics."""

from openmultistack.wiring.app import open_door

handle = open_door("list")
