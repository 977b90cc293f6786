"""What the bundled model can do, shown on a clip whose truth is known and on two prompts."""
