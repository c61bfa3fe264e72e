"""Studies: datasets x strategies x methods x seeds, declared in one file. See docs/studies.md."""
