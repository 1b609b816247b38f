"""What is trained beside an encoder and dropped afterwards: quantisers, predictors, losses by contrast."""
