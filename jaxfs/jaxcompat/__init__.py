"""The private names of jax that jaxfs needs, all in one package.

jax has no public way to compile a StableHLO module, to serialize an executable or to define a
primitive with its rules.  The private names for it change without notice, so nothing outside this
package imports them, and each module lists those it uses, with the reason.  They were tested with
jax 0.10.2 and 0.12.0; ``setup.cfg`` allows no others, and its limit rises after a test run.

``executables`` compiles, loads and calls, ``executable_pickles`` reads what it stored, ``export``
reads jax.export artifacts, ``jaxprs`` has equations and primitives, ``mlir`` makes contexts,
``topologies`` describes devices to compile for without them.  Only
compiler jobs and workers import them.
"""
