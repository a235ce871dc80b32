"""Who still uses which certificate: by the vault, the mounts, and what programs show of themselves."""
