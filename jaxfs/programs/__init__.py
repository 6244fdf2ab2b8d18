"""Programs and their versions: from a source that a user wrote to a loaded executable."""
