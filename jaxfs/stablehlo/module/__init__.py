"""One StableHLO module: parsing, iteration, types, names, and one canonical form."""
