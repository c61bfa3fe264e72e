"""Datasets: readers of their layouts, the validated manifest and the prepared image sets.

Another dataset layout is one module with a :class:`~daf_pipelines.sources.base.Source` and one
line in :data:`daf_pipelines.sources.registry.SOURCES`.
"""
