"""Speed benchmarks and long experiments. Not part of the package."""
