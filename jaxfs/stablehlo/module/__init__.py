"""One StableHLO module: parse it, walk it, know its types, bring it into one form."""
