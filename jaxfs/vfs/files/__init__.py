"""The rows of the node table, by the kind of object they show."""
