"""POST /v1/instances."""

from openmultistack.wiring import app

handle = app.create()
