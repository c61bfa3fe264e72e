"""The robustness study: strategies x methods, read out from the results of its cells."""
