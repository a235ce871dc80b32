"""`hcpcreds conform`: does a program, in whatever language, survive what happens to its credential?

It runs the program with a mounted credential and the local Azure, causes one fault after the other, and
judges from the outside: by the requests that arrive at the local Azure. For development and tests only.
"""
