"""Recordings without text -> crops of one length, their samples, what is masked in them or mixed into them."""
