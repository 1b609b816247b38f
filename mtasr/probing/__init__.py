"""What an encoder knows: light heads on its frozen states, after SUPERB (Yang et al. 2021).

Needs the extra `train`; diarization also needs the extra `evaluate`.
"""
