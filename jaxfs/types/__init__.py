"""Plain data that all layers share: types of arrays, signatures, buffers, layout."""
