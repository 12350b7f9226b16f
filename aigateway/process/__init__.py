"""The processes of a gateway: supervisor, children, web, probe, first start, health."""
