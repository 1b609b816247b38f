"""From recordings with text of unknown quality to a better model; needs the extra `train`.

captions, ingest   subtitles, transcripts and manifests -> records
records            one recording and its text, a line of JSON
filters            records that would teach the model something wrong, and the reason
windows, targets   records -> at most 30 s of audio -> the tokens to learn
batches, loop      the training itself
"""
