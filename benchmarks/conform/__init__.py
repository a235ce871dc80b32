"""The scoreboard of `hcpcreds conform`: programs of several languages, with and without our sidecar."""
