"""PATCH /v1/instances/{id}."""

from openmultistack import app

handle = app.renew()
