"""The credential file: reading, parsing and explaining it."""
