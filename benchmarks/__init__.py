"""Speed benchmarks and long experiments; not part of the package."""
