"""POST /v1/reap."""

from openmultistack.wiring import app

handle = app.reap()
