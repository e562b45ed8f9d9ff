"""The API's endpoints, one module a subject: what each reads, does, answers, and tells of itself.

Nothing is imported here or among what functions make for others' use: a function has only its own
use case, so each endpoint is made by a function that imports what it needs.
"""
