"""POST /v1/reap."""

from openmultistack import app

handle = app.reap()
