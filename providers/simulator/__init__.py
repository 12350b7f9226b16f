"""A fake provider over real HTTP: real wire formats, faults on demand, and its own bill.

It stands alone: nothing here reads the gateway's tables, prices or arithmetic, so its bill is an independent witness of
what the gateway's ledger says. ``catalogue`` is pure and may be imported anywhere.
"""
