"""Commands of finance: proofs, totals, bills."""
