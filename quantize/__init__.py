"""ndeploy."""
