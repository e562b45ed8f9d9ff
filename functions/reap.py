"""POST /v1/reap."""

from openmultistack.wiring.app import open_door

handle = open_door("reap")
