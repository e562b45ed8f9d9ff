"""`python -m openmultistack.cli`."""

from openmultistack.cli.app import main

main()
