"""From a command to servers: plans, attempts, watches over builds and deletions, the queue."""
