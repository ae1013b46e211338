"""`python -m ndeploy`."""

from ndeploy.cli import main

main()
