"""The regression suite: cases in, checks against a reviewed baseline out (`ndeploy test`, docs/testing.md)."""
