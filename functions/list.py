"""GET: instances, their events, regions, health and metrics."""

from openmultistack.wiring import app

handle = app.list_()
