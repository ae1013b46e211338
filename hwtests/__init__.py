"""The regression suite shipped with the package: `pytest --pyargs ndeploy.hwtests`."""
