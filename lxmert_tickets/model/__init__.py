"""The network, and its weights as files."""
