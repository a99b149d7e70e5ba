"""Long experiments: each trains, measures and appends one line to docs/results.jsonl."""
