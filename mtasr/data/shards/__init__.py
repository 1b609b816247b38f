"""Records with their audio in tar files, laid out as WebDataset does: two members of the same key for each record.

    talks/00000.tar    00000000.json   the record; its field `audio` names the member with the sound
                       00000000.flac   the sound
                       00000001.json   ...

archive    members of a tar file, without trust in it; one of them as an open file
reading    the records of a shard
writing    records -> shards, whole or not at all
"""
