"""One file per area: the faults that it knows how to make happen, or how public sources word them."""
