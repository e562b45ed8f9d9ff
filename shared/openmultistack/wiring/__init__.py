"""Each function made of its parts, once a process, from what its platform tells it."""
