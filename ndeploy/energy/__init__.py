"""What a sample costs: exact event counts (ledger), prices (tables), and their product (estimate)."""
