"""How much of a request is taken, wherever it is read; imports nothing."""

# user_data of 64 KiB, escaped as JSON can at worst double; nothing valid is larger.
BODY_MAX_BYTES = 256 * 1024
# How many requests a process serves at once, if `THREADS` says nothing else: they wait nearly all
# the time, for clouds and the ledger.
THREADS = 64
