"""OpenMultiStack: instances on many capped OpenStack regions, behind one API."""
