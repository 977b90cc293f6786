"""Reading and writing video and audio, through PyAV alone."""
