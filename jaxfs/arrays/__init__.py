"""Arrays that outlive one request: producers, references, names, views, bindings."""
