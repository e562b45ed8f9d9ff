"""DELETE /v1/instances."""

from openmultistack.wiring.app import open_door

handle = open_door("destroy")
