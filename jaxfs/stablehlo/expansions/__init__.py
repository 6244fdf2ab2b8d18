"""Bodies of JAX's functions, and how a module's operations are compared with them.

jax.export writes out many functions (``erfc``, ``lgamma``, complex ``sqrt``) as dozens of
operations, or leaves a composite or a private function with the function's name.  A name alone
means nothing; a body that equals JAX's own means JAX's function.  JAX itself is asked for its
bodies (``library``), which are compared as graphs (``terms``, ``matching``), so no list of
operations is written by hand.  The importer then applies the function, which has the right
derivative, and composites that are not what they are called are replaced (``composites``).
"""
