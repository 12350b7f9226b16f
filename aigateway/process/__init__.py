"""The processes of a gateway: run, supervisor, children, web, probe, first start, health."""
