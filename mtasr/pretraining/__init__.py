"""Learning from audio alone, by objectives of the training loop. Needs the extra `train`.

recipes              presets, and the settings of `mtasr pretrain`
objective            what these objectives share: recordings, batches, evaluation, the result
audio, crop_reader   recordings -> pieces -> random crops of one length, and their samples
masking              spans of frames to predict
best_rq, quantiser   random codes of log-mel features (BEST-RQ)
kmeans               units: groups of frames that are alike
unit_labels, hubert  the units of recordings, and which of them a hidden frame has (HuBERT)
mixing, wavlm        the same while others talk (WavLM)
wav2vec2, gumbel     which quantised frame was masked here? (wav2vec 2.0, XLS-R)
cpc, prediction      which frame comes k steps later? (CPC)
wave_ctc, letters    few labels afterwards: an encoder of the waveform learns to spell
contrastive          negatives and losses of both; gradients, languages, wave_encoders: parts of them
"""
