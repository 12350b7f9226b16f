"""Streams that the network cuts anywhere: a scripted provider, a client that believes nothing, and what must hold between them."""
