"""`python -m faults`, run in the folder of the tests: the fault table."""

from faults.table.command import main

main()
