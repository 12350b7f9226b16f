"""Tries providers: connection, conformance, by calls that are metered like any other."""
