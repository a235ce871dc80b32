"""What reads a running cluster: whether each pod has the credential that it should, and which one."""
