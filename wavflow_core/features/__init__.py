"""From frames and text to the features that condition the model."""
