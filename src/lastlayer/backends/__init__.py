"""The backends: each has the same functions on checked problems; `reference` specifies them."""
