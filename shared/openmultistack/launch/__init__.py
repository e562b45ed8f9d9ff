"""How a function is run, the same everywhere: functions-framework's app behind a bounded server."""
