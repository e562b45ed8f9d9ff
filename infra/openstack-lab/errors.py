"""The one error of the lab: a sentence for whoever typed the command."""


class LabError(Exception):
    """Something the user has to know; `lab.py` prints it and exits with 1."""
