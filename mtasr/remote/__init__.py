"""Recordings and results that are not on this machine: object stores, and web servers.

A URL is an ordinary source and an ordinary output folder. `web.py` reads `http` and `https`; for all others fsspec
opens the store (`store.py`), and the extra `remote` brings it and what S3 needs.

    urls.py       what is a URL, how it is shown, what its files are called
    patience.py   how long to wait, and how often to try again
    web.py        one recording on a web server, in ranges of bytes
    store.py      one object of a store, in ranges of bytes; writing an object whole
    file.py       `RemoteFile`: either of them as an open binary file, which survives cut connections
    listing.py    the recordings below a prefix, page by page
    state.py      `RemoteState`: what tells whether an object has changed
    folder.py     `RemotePath`: where results go
"""
