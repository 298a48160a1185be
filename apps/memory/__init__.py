"""A run in memory, asked by name: what the dashboard and the terminal show, from the same queries."""
