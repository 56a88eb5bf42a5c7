"""`python -m gateway` is `twinspan`."""

from gateway.cli import main

main()
