"""The commands by topic, thin: each parses its words, calls the part that knows, and prints what comes back."""
