"""`mtasr live`: what is listened to, what is shown, and the files that are written meanwhile."""
