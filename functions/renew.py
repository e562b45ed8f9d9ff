"""PATCH /v1/instances/{id}."""

from openmultistack.wiring import app

handle = app.renew()
