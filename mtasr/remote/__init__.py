"""Recordings and results that are not on this machine: object stores, and web servers.

A URL is a source like a path, and one of a store can be an output folder. `web.py` reads `http` and `https`; for all
others fsspec opens the store (`store.py`), and the extra `remote` brings it and what S3 needs.

    urls.py         what is a URL, whether a list may name it, how it is shown, what its files are called
    patience.py     how long to wait, and how often to try again; attempts that end with the wait for them
    web.py          one recording on a web server, in ranges of bytes
    connections.py  the connections to web servers, and where they may lead
    store.py        one object of a store, in ranges of bytes; what is below a prefix
    file.py         `RemoteFile`: either of them as an open binary file, which survives cut connections
    copies.py       copies in temporary files, as far as the disk has room
    listing.py      the recordings below a prefix, and many questions at the same time
    state.py        `RemoteState`: what tells whether an object has changed
    folder.py       `RemotePath`: where results go; writing them whole
"""
