"""Learning from audio alone, by objectives of the training loop. Needs the extra `train`.

recipes              presets, and the settings of `mtasr pretrain`
objective            what these objectives share: batches, evaluation, the result
best_rq              random codes of log-mel features (BEST-RQ)
hubert, wavlm        to which unit does a hidden frame belong, also while others talk? (HuBERT, WavLM)
wav2vec2             which quantised frame was masked here? (wav2vec 2.0, XLS-R)
cpc                  which frame comes k steps later? (CPC)
wave_ctc, letters    few labels afterwards: an encoder of the waveform learns to spell
wave_encoders        the encoders of the waveform, and settings of masks over their frames
audio                recordings -> pieces -> random crops of one length; masks, mixing, languages
units                k-means, and the units of recordings
heads                what is trained beside an encoder: quantisers, predictors, contrast
"""
