"""The programs themselves."""
