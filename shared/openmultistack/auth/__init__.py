"""Who may call: issuers, their keys, tokens that are believed, and those that are taken back."""
