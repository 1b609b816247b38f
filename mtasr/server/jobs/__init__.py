"""Jobs: long recordings that the server transcribes in the background, and continues after it was killed."""
