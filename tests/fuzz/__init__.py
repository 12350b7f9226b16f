"""Fuzz targets: pure functions of bytes that raise ``AssertionError`` when a promise is broken."""
