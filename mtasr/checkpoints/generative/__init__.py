"""Reading what others have trained to make sound."""
