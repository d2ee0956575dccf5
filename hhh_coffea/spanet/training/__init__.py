"""Training: data, batches, losses, the loop, validation."""
