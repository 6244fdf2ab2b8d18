"""Measures of source code, read with ``ast`` and never imported.

``source`` reads files, functions and classes, ``names`` resolves expressions to them, ``uses``
finds their calls; ``sizes``, ``callers``, ``duplicates``, ``imports``, ``signatures`` and
``coverage`` each measure one thing and return a ``Measured`` value with its offenders.
"""
