"""Terminal summaries: each module turns one result into something a person enjoys reading."""
