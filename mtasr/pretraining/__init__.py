"""Learning from audio alone, by objectives of the training loop. Needs the extra `train`.

objective          what these objectives share: recordings, crops, evaluation, the result
audio              recordings -> pieces -> batches of random crops of one length
masking            spans of frames that a model has to predict
kmeans             units: groups of frames that are alike
"""
