"""A release over HTTP: `slimline serve`. One process, one model; every answer is the one that `slimline.runtime` gives."""
