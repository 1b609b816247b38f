"""Units: groups of frames that are alike (k-means), and recordings as sequences of them."""
