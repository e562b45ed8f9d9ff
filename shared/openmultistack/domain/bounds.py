"""How much of a request is taken, and what stands for no bound; imports nothing."""

# user_data of 64 KiB, escaped as JSON can at worst double; nothing valid is larger.
BODY_MAX_BYTES = 256 * 1024
# What names of instances, keys and values of labels are of, and how long each may be.
NAME_PATTERN, VALUE_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]*", r"[A-Za-z0-9._:/@+ -]*"
LABEL_CHARS = 63
# An owner is written into Nova metadata, whose values end at 255 characters.
OWNER_CHARS = 200
# The last character that Nova's tables in MySQL take; to one beyond (an emoji, say) it answers 500,
# as a cloud does that fails, and whoever sends such a text thrice would have a region rest.
CHAR_LAST = "\uffff"
# How many requests a process serves at once, if `THREADS` says nothing else: they wait nearly all
# the time, for clouds and the ledger.
THREADS = 64
# How long a platform lets a request, or what is in flight when it ends the process, go on, if
# `OMS_GRANTED_S` says nothing else.
GRANTED_S = 25
# Of that so long new requests are still taken: whoever sends them hears of the end with a delay.
LAME_DUCK_S = 5
# What a cloud's "no limit" is for us; far beyond any fleet, and still an exact number in Lua.
UNLIMITED = 10**9
