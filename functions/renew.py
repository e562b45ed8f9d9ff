"""PATCH /v1/instances/{id}."""

from openmultistack.wiring.app import open_door

handle = open_door("renew")
