"""Renewing what is due in Key Vaults."""
