"""What is measured of a run in its middle and at its end: validation, the guard, mixtures."""
