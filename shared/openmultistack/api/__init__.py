"""HTTP: the door, the endpoints, and their description."""
