"""The data plane's half of ``providers``: knows no Django and no database, could be a library of its own."""
