"""From a results directory to a measurement."""
