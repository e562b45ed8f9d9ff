"""`oms`, the command line: an HTTP client of the gateway."""
