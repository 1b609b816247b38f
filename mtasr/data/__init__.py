"""Recordings with text of any quality, made fit for training.

captions, ingest                     subtitles, transcripts and manifests -> records
records, texts                       a recording and its text; how texts are spelled and compared
reading, shards                      what RECORDS may be: a file of lines, or shards that have the audio in them
mixture                              records of several sources in pools, for training
filters, duplicates, filtering       reasons to drop a record, and the report about them
spoken, listening, captions_heard    the filters that listen to recordings
label                                records from what a model writes
excerpts, samples                    at most 30 s of a record, and its audio
"""
