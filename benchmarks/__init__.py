"""The benchmarks of `make bench`: ratios against the usual alternatives, measured in the same run."""
