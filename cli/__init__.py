"""The `tandem` command, a file per group: parse, call, print.

No logic lives here: every command is a few lines around a function that tests and other programs call as well. It
imports heavy packages inside the commands that need them, so that `tandem --help` answers at once. People and scripts
call it; nothing imports it.
"""
