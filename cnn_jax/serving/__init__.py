"""A server that names what is on pictures: a page, and answers for programs.

`decoder.py` is a process of its own, which reads the pictures; `server.py` keeps the connections, `guard.py` says who
may ask, `uploads.py` reads what is sent, `batching.py` gives it to the networks, `application.py` answers.
"""
