"""How good sounds are: when they happen, how they sound, and how they are spread."""
