"""Safety in use: content checks, canaries, alerts on what is unusual, break-glass."""
