"""A component under load for any time, with faults everywhere around it."""
