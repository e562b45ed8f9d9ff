"""All of a stack on one machine: what `make up` and its kin run."""
