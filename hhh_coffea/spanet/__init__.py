"""The assignment network alone: plain torch, without coffea or awkward, so that it runs wherever torch does."""
