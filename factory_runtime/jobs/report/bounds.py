"""What the analysis and the process that does it agree on."""

MEMORY, UNREADABLE = 3, 4
"""How the process ends where its memory was too little, and where there are no rows."""

BYTES_A_VALUE = 64
"""What one value takes at the most: itself, and what is worked out with it."""
