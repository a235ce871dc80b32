"""Renews the credentials that are due in Key Vaults."""
