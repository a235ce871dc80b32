"""A component under load for as long as one likes, while everything around it goes wrong."""
