"""How much of a request is taken, wherever it is read; imports nothing."""

# user_data of 64 KiB, escaped as JSON can at worst double; nothing valid is larger.
BODY_MAX_BYTES = 256 * 1024
