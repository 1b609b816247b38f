"""A recording as a whole: its channels and speakers put together, whether it is decoded here or elsewhere."""
