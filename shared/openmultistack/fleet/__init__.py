"""The fleet as configured, and what a request means in each of its regions."""
