"""What the end-to-end tests and the demo share: processes, clients, and the oracle that judges what was read."""
