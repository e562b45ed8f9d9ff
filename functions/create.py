"""POST /v1/instances."""

from openmultistack import app

handle = app.create()
