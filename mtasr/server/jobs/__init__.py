"""Jobs: long recordings that the server transcribes while nobody waits, and continues after it was killed."""
