"""How figures look: colours and names, ticks and letters, what stands above the axes."""
