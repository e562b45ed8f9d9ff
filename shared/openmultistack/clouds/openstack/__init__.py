"""The adapter to real clouds: the only code that speaks OpenStack."""
