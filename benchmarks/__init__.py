"""What `make bench` measures: ratios, side by side in one run, against what a user would pick instead."""
