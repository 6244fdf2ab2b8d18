"""Arrays with names and owners: who made them, who needs them, when they go."""
