"""Faster forms of a model: compiled for numpy where they were proven equal when the version was packaged.

``preparing``, ``trees`` and ``linear`` answer and need numpy only; ``steps``, ``growing`` and ``weighing`` read a
fitted scikit-learn model; ``stored`` keeps a form as a file; ``certificate`` compares and chooses.
"""
