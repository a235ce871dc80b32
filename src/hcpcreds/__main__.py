"""`python -m hcpcreds` is `hcpcreds`."""

from hcpcreds.cli import main

main()
