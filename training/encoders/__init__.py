"""Small encoders, trained with the objectives of their big sisters in the same code paths."""
