"""What clients, operators and the schedule have done: each use case reads top-down."""
