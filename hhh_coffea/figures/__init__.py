"""Pictures of results, drawn from what the results directory holds."""
