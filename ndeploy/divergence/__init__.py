"""Where two executions of a network part, and which single difference explains it."""
