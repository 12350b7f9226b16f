"""Accounts, groups and teams: who may sign in, what may be given to whom, and the pages where people do it."""
