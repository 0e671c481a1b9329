"""The gateway itself: it parses, decides by what the others know, forwards, counts what is under way, and cuts it."""
