"""The errors of this project: each is one clear message, shown without a traceback."""


class DAFError(Exception):
    """A mistake that the user can mend.

    The message says what was expected, what arrived, where, and what to do. The command line
    shows it as it is; only other exceptions come with a traceback.
    """


class DataError(DAFError):
    """Images, masks or a dataset layout are not what the pipeline needs."""


class ParameterError(DAFError):
    """A parameter has a value that cannot work."""


class WeightsError(DAFError):
    """Pretrained weights are missing or do not fit the backbone."""


class StaleArtifactError(DAFError):
    """A persisted output belongs to another dataset or to other parameters than those asked for."""


class MetricUndefinedError(DAFError):
    """A metric has no value on this data; the message is the reason."""
