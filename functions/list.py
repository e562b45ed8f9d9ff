"""GET: instances, their events, regions, health and metrics."""

from openmultistack import app

handle = app.list_()
