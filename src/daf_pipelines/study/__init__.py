"""Studies: datasets x strategies x methods x seeds, run and read out. See docs/studies.md."""
